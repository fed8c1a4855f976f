"""What people and Prometheus see of drift monitoring."""
