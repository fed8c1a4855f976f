"""What a backtest is run with; two of them can be held side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic.alias_generators import to_snake

from drift.incidents.backtest.budget import IncidentBudget
from drift.incidents.backtest.stretches import (
    DEFAULT_PROBATION,
    DEFAULT_REFIT_HOURS,
    ModelSource,
    RegisteredModel,
    WalkForward,
)
from drift.incidents.backtest.threshold_rules import (
    DEFAULT_MARGIN,
    ScoreMargin,
    StrictestRule,
    ThresholdRule,
)
from drift.settings import DriftSettings
from train.model.bundle import ModelBundle
from train.settings import TrainSettings
from train.spec import steps_text
from train.table.transform.grammar import parse_steps
from vigil.errors import BadSettings, DataError

DEFAULT_OVER_TIME = "zscore:288,sd:24,min:24,max:24"
DEFAULT_INCIDENT_BUDGET = 1.0
# Where nobody has set `incidentQuietS`: an anomaly of a machine often comes back within hours.
DEFAULT_QUIET_S = 28_800.0
_NUMBERS = ("probation", "refit_hours", "margin", "incident_budget")
_WORDS = ("version", "over_time")


@dataclass(frozen=True)
class BacktestVariant:
    """One way to run a backtest.

    version: of the registry; None: models are fitted as time goes on, to rows with the features
    `over_time`. probation: share of the rows before the first that is judged; None: the default,
    which is nothing where a version is named. margin: of a score over those that are usual, from
    which a row alerts; incident_budget: incidents a week in the rows that a model is fitted to, of
    which more raise the threshold; 0: neither does, and where both are, the alert budget of rows
    makes it. settings: values that replace those of the settings of drift and train; changes: what
    tells it from another variant
    """

    version: str | None = None
    over_time: str = DEFAULT_OVER_TIME
    probation: float | None = None
    refit_hours: float = DEFAULT_REFIT_HOURS
    margin: float = DEFAULT_MARGIN
    incident_budget: float = DEFAULT_INCIDENT_BUDGET
    settings: dict[str, str] = field(default_factory=dict)
    changes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise BadSettings for a transform that is none."""
        if not self._steps:
            return
        try:
            parse_steps(self._steps)
        except DataError as error:
            raise BadSettings(error.message, about="--over-time: ") from error

    @property
    def _steps(self) -> str:
        return steps_text(self.over_time)

    @property
    def title(self) -> str:
        """What a table or picture calls it."""
        model = f"version {self.version}" if self.version else "fitted to the rows before"
        return ", ".join((model, *self.changes))

    @property
    def drift_settings(self) -> DriftSettings:
        """Those of this process, but for the changes. Raises BadSettings.

        Without a version the quiet time is longer, unless it is set.
        """
        settings = DriftSettings(**self._of_room(DriftSettings))
        if self.version or "incident_quiet_s" in settings.model_fields_set:
            return settings
        return settings.model_copy(update={"incident_quiet_s": DEFAULT_QUIET_S})

    @property
    def train_settings(self) -> TrainSettings:
        """Those of this process, but for the changes. Raises BadSettings."""
        return TrainSettings(**self._of_room(TrainSettings))

    def _of_room(self, room: type[DriftSettings | TrainSettings]) -> dict[str, Any]:
        return {name: value for name, value in self.settings.items() if name in room.model_fields}

    def source(self, load: Callable[[str], ModelBundle]) -> ModelSource:
        """Return what scores the rows; `load` gives the model of a version."""
        if self.version:
            return RegisteredModel(load(self.version), self.version, self.probation or 0.0)
        return self._walk_forward()

    def _walk_forward(self) -> WalkForward:
        return WalkForward(
            self.train_settings,
            rule=self._rule,
            over_time=self._steps,
            probation=self.probation or DEFAULT_PROBATION,
            refit_hours=self.refit_hours,
        )

    @property
    def _rule(self) -> ThresholdRule | None:
        rules: list[ThresholdRule] = []
        if self.margin:
            rules.append(ScoreMargin(self.margin))
        if self.incident_budget:
            budget = IncidentBudget.of_settings(self.incident_budget, self.drift_settings)
            rules.append(budget)
        return StrictestRule(tuple(rules)) if rules else None

    def changed(self, changes: Sequence[str]) -> BacktestVariant:
        """Return the variant that differs by these `NAME=VALUE`.

        A name is one of the fields here, or of the settings of drift or train. Raises BadSettings
        that names what is wrong.
        """
        variant = replace(self, changes=tuple(changes))
        for change in changes:
            variant = variant._with(change)
        return variant

    def _with(self, change: str) -> BacktestVariant:
        name, value = _parse_change(change)
        if name in _WORDS:
            return replace(self, **{name: value})
        if name in _NUMBERS:
            return replace(self, **{name: _parse_number(change, value)})
        if name in DriftSettings.model_fields or name in TrainSettings.model_fields:
            return replace(self, settings=self.settings | {name: value})
        options = ", ".join(_WORDS + _NUMBERS)
        raise BadSettings(
            f"{change!r}: there is no setting {name}; compare by {options}, or by a setting of "
            "drift or train (`vigil settings` lists them)"
        )


def _parse_change(change: str) -> tuple[str, str]:
    """The name, as incident_alerts for incidentAlerts or incident-alerts, and the value."""
    name, equals, value = change.partition("=")
    if not equals:
        raise BadSettings(f"{change!r}: write what to compare as NAME=VALUE")
    words = name.strip().replace("-", "_")
    return to_snake(words), value.strip()


def _parse_number(change: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise BadSettings(f"{change!r}: {value!r} is not a number") from None
