"""Follows the settings file while a platform runs: what may change goes to Serve, what may not
waits for the next start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from drift.settings import DriftSettings
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.errors import BadSettings, VigilError
from vigil.json_types import JsonObject
from vigil.model_names import check_model_names
from vigil.room_settings import Effect, RoomSettings, read_all_settings, settings_path

# The stamp of no file: what Serve could not take is tried again at the next look.
_RETRY_STAMP = (-1, -1)
# These are in the environment of every Ray process.
_NEEDS_RESTART = (Effect.SECOND_CLUSTER, Effect.REPLACEMENT)


@dataclass(frozen=True)
class AllSettings:
    """The settings of all rooms."""

    serve: ServeSettings
    drift: DriftSettings
    train: TrainSettings


def read_settings(port: int | None = None) -> AllSettings:
    """As environment and settings file have them; raises BadSettings with every mistake."""
    given: JsonObject = {} if port is None else {"port": port}
    readers: list[Callable[[], Any]] = [
        lambda: ServeSettings(**given),
        DriftSettings,
        TrainSettings,
    ]
    settings = AllSettings(*read_all_settings(readers))
    _check_github_token(settings.drift)
    rooms = (settings.train, settings.serve, settings.drift)
    check_model_names({room.variable("model_name"): room.model_name for room in rooms})
    return settings


def _check_github_token(drift: DriftSettings) -> None:
    if drift.backend == "github" and not drift.github_token.get_secret_value():
        variable = drift.variable("github_token")
        raise BadSettings(
            f"drift.backend = 'github': it needs a token that may dispatch the workflow: {variable}"
        )


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

    @property
    def needs_restart(self) -> bool:
        return self.effect in _NEEDS_RESTART

    @property
    def is_served(self) -> bool:
        """Whether Serve takes it while it runs; trainings read their settings when they start."""
        return self.settings is not TrainSettings and not self.needs_restart

    def __str__(self) -> str:
        when = "at the next `vigil up`" if self.needs_restart else self.effect
        return f"{self.settings.key(self.name)}: {self.old} -> {self.new} ({when})"


def setting_changes(old: AllSettings, new: AllSettings) -> list[SettingChange]:
    """What differs between two readings; a secret's values are not shown."""
    rooms = ((old.serve, new.serve), (old.drift, new.drift), (old.train, new.train))
    return [change for before, after in rooms for change in _room_changes(before, after)]


def _room_changes(old: RoomSettings, new: RoomSettings) -> list[SettingChange]:
    room = type(old)
    changes = []
    for name in room.model_fields:
        before = getattr(old, name)
        after = getattr(new, name)
        if before == after:
            continue
        if room.is_secret(name):
            before = "a secret"
            after = "another"
        changes.append(
            SettingChange(
                room,
                name,
                before,
                new=after,
            )
        )
    return changes


class SettingsFollower:
    """The settings of one running platform. `look` is called now and then.

    `apply` gives Serve what has changed, and raises VigilError where it cannot take it; `tell`
    gets a line for each change and each trouble.
    """

    def __init__(
        self,
        settings: ServeSettings,
        *,
        apply: Callable[[AllSettings], None],
        tell: Callable[[str], None],
    ) -> None:
        self._apply = apply
        self._tell = tell
        self._settings = replace(read_settings(), serve=settings)
        self._stamp = _file_stamp()

    def look(self) -> None:
        """Take what has changed in the file since the last look.

        A file that is wrong changes nothing, and is told of.
        """
        stamp = _file_stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            settings = read_settings(self._settings.serve.port)
        except BadSettings as error:
            self._tell(f"settings are not taken: {error.message}")
            return
        self._take(settings)

    def _take(self, settings: AllSettings) -> None:
        changes = setting_changes(self._settings, settings)
        for change in changes:
            self._tell(str(change))
        settings = self._without_restarts(settings)
        try:
            if any(change.is_served for change in changes):
                self._apply(settings)
        except VigilError as error:
            self._tell(f"settings are not taken: {error.message}")
            self._stamp = _RETRY_STAMP
            return
        self._settings = settings

    def _without_restarts(self, settings: AllSettings) -> AllSettings:
        """With the values of now for what only a new start of Ray can change."""
        running = self._settings.serve
        kept = {name: getattr(running, name) for name in ServeSettings.names(*_NEEDS_RESTART)}
        return replace(settings, serve=settings.serve.model_copy(update=kept))


def _file_stamp() -> tuple[int, int] | None:
    """Time and size of the settings file, None where there is none."""
    try:
        status = settings_path().stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
