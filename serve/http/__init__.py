"""The HTTP service: from a request to its answer."""
