"""Types of decoded JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
# An object that is only read: of an answer, a bundle or the registry.
Fields = Mapping[str, Any]
# Numbers by name.
Numbers = Mapping[str, float]
