"""What a model is, and how one comes to be."""
