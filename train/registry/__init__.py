"""Versions and promotions in MLflow: the only modules that talk to it."""
