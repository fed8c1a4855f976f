"""Settings that more than one room has, each declared once: home, MLflow, model, trusted keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from vigil.errors import PlatformError
from vigil.home import Home
from vigil.room_settings import DEFAULT_MODEL_NAME, Effect, setting

_DEFAULT_HOME = Path(".vigil")
MAX_MODEL_NAME = 200
_RESERVED = set("/:?")
_QUOTES = {"'", '"'}
_LOCAL_MLFLOW = "http://127.0.0.1:5000"


class HomeSettings(BaseSettings):
    """`VIGIL_HOME`: the folder of local state, shared by every room."""

    model_config = SettingsConfigDict(
        env_prefix="VIGIL_",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
    )

    home: Path = Field(default=_DEFAULT_HOME, description="folder of local state")

    def open(self) -> Home:
        """The absolute home; raises PlatformError for a name that is no text."""
        root = Path(os.path.expanduser(self.home)).absolute()  # noqa: PTH111 - never raises
        if not _is_text(root):
            raise PlatformError(f"VIGIL_HOME = {str(root)!r}: a name in UTF-8 is needed")
        return Home(root)


def _is_text(path: Path) -> bool:
    """Whether a name is UTF-8: databases and URIs have no other."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


class TrustSettings(BaseSettings):
    """Whose bundles are read, by every process that reads one.

    They are `VIGIL_TRUSTED_KEYS` and `VIGIL_REQUIRE_SIGNATURE`.
    """

    model_config = SettingsConfigDict(
        env_prefix="VIGIL_",
        frozen=True,
        extra="ignore",
    )

    trusted_keys: Path | None = Field(
        default=None,
        description="folder of public keys (*.pub) whose bundles are read",
    )
    require_signature: bool = Field(
        default=False,
        description="refuse versions that are not signed",
    )


def _check_model_name(name: str) -> str:
    """What MLflow, its filters and URIs, and the lines of a terminal can carry."""
    if not name.strip() or name != name.strip() or name in (".", ".."):
        raise ValueError("a name is needed, without blanks around it")
    if len(name) > MAX_MODEL_NAME:
        raise ValueError(f"a name of {len(name)} characters; at most {MAX_MODEL_NAME}")
    if not name.isprintable() or _RESERVED & set(name):
        raise ValueError("a name has no / : ? and no control characters: MLflow cannot hold it")
    if set(name) >= _QUOTES:
        raise ValueError("a name has ' or \", not both: a filter of MLflow could not quote it")
    return name


ModelName = Annotated[str, AfterValidator(_check_model_name)]


def home_setting(content: str) -> Any:
    """Declare a room's `home`: the folder of `content`."""
    return setting(
        _DEFAULT_HOME,
        Effect.ROLLING,
        f"folder of {content}",
        internal=True,
    )


def tracking_uri_setting() -> Any:
    """Declare a room's `tracking_uri`, where it serves beside an MLflow server."""
    return setting(
        _LOCAL_MLFLOW,
        Effect.ROLLING,
        "MLflow server",
        internal=True,
    )


def model_name_setting(effect: Effect, description: str) -> Any:
    """Declare a room's `model_name`: all rooms of a platform must name one model."""
    return setting(DEFAULT_MODEL_NAME, effect, description)
