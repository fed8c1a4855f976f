"""Channels: where messages about incidents go."""
