"""Alerts of rows become incidents: grouped, suppressed, stored, and sent to people once."""
