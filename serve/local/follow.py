"""Follows the settings file while a platform runs: what may change goes to Serve, what may not waits for the next start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from drift.settings import DriftSettings
from serve.local import platform as local
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.errors import BadSettings, VigilError
from vigil.home import Home, RunningPlatform
from vigil.room_settings import Effect, RoomSettings, read_all_settings, settings_path

_RETRY_STAMP = (
    -1,
    -1,
)  # the stamp of no file: what Serve could not take is tried again at the next look
_NEEDS_RESTART = (
    Effect.SECOND_CLUSTER,
    Effect.REPLACEMENT,
)  # they are in the environment of every Ray process


@dataclass(frozen=True)
class AllSettings:
    """The settings of all rooms."""

    serve: ServeSettings
    drift: DriftSettings
    train: TrainSettings


def read_settings(port: int | None = None) -> AllSettings:
    """As environment and settings file have them; raises BadSettings with every mistake."""
    given: dict[str, Any] = {} if port is None else {"port": port}
    readers: list[Callable[[], Any]] = [
        lambda: ServeSettings(**given),
        DriftSettings,
        TrainSettings,
    ]
    serve, drift, train = read_all_settings(readers)
    if drift.backend == "github" and not drift.github_token.get_secret_value():
        wanted = DriftSettings.variable("github_token")
        raise BadSettings(
            f"drift.backend = 'github': it needs a token that may dispatch the workflow: {wanted}"
        )
    return AllSettings(serve, drift, train)


@dataclass(frozen=True)
class SettingChange:
    """One setting that has another value now."""

    settings: type[RoomSettings]
    name: str
    old: Any
    new: Any

    @property
    def effect(self) -> Effect:
        return self.settings.effect_of(self.name)

    def __str__(self) -> str:
        told = f"{self.settings.key(self.name)}: {self.old} -> {self.new}"
        return (
            f"{told} (at the next `vigil up`)"
            if self.effect in _NEEDS_RESTART
            else f"{told} ({self.effect})"
        )


def setting_changes(old: RoomSettings, new: RoomSettings) -> list[SettingChange]:
    """What differs between two settings of one room; a secret's values are not shown."""
    cls = type(old)
    found = []
    for name in cls.model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            shown = ("a secret", "another") if cls.is_secret(name) else (before, after)
            found.append(SettingChange(cls, name, *shown))
    return found


class SettingsFollower:
    """The settings of one running platform. `look` is called now and then."""

    def __init__(
        self,
        platform: RunningPlatform,
        home: Home,
        settings: ServeSettings,
        tell: Callable[[str], None],
    ) -> None:
        self._platform, self._home, self._tell = platform, home, tell
        self._told = replace(read_settings(), serve=settings)
        self._stamp: tuple[int, int] | None = self._file_stamp()

    def look(self) -> None:
        """Take what has changed in the file since the last look. A file that is wrong changes nothing, and is told of."""
        stamp = self._file_stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            told = read_settings(self._told.serve.port)
        except BadSettings as error:
            self._tell(f"settings are not taken: {error.message}")
            return
        was = self._told
        found = [
            *setting_changes(was.serve, told.serve),
            *setting_changes(was.drift, told.drift),
            *setting_changes(was.train, told.train),
        ]
        for change in found:
            self._tell(str(change))
        fixed = {name: getattr(was.serve, name) for name in ServeSettings.names(*_NEEDS_RESTART)}
        told = replace(told, serve=told.serve.model_copy(update=fixed))
        try:
            if any(
                change.settings is not TrainSettings and change.effect not in _NEEDS_RESTART
                for change in found
            ):
                local.put(self._platform, told.serve, told.drift, self._home)
        except VigilError as error:
            self._tell(f"settings are not taken: {error.message}")
            self._stamp = _RETRY_STAMP
            return
        self._told = told

    @staticmethod
    def _file_stamp() -> tuple[int, int] | None:
        try:
            found = settings_path().stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
