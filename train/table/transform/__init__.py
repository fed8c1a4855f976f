"""Declared transforms: from the raw rows of an entity to the rows of the model."""
