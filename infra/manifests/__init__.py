"""Kubernetes objects as plain dicts: pure functions of the settings, without Pulumi. Applied by apply.py, written as YAML by render.py."""
