"""Prometheus rules and Grafana dashboards, from the metric names that the code itself declares."""
