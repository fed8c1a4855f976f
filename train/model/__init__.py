"""A model: how it is fitted, judged, explained, and stored."""
