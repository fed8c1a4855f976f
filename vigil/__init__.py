"""The `vigil` command, and what every room shares: settings, home, errors, terminal."""
