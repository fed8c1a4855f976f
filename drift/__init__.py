"""Watching the live data and deciding when to retrain."""
