"""Settings that no room owns: where local state is."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from vigil.home import Home


class HomeSettings(BaseSettings):
    """`VIGIL_HOME`: the folder of local state, shared by every room."""

    model_config = SettingsConfigDict(env_prefix="VIGIL_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".vigil"), description="folder of local state")

    def open(self) -> Home:
        """The absolute home."""
        return Home(self.home.expanduser().absolute())
