"""Incidents over history: the path of a live row, replayed over the rows of a table."""
