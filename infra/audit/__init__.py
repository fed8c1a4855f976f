"""`python -m infra.audit`: no pin grows old unseen."""
