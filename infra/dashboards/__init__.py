"""Prometheus rules and Grafana dashboards, generated from the metric names that the code itself declares."""
