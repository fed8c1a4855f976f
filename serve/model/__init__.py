"""The model in a replica: loaded, watched, compared, and reported on."""
