"""The name under which Vigil is published, and the version that is installed."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "vigil-anomaly"  # on PyPI `vigil` is somebody else's; the command is `vigil`


def installed_version() -> str:
    """Version of the distribution that this code was installed by."""
    return importlib.metadata.version(DISTRIBUTION)
