"""An object of JSON or YAML, as Python reads it."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]
