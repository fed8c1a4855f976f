"""The platform on one machine, and the commands for it."""
