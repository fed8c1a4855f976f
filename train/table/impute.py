"""What stands for a missing value, by feature: declared for training, and the same at every door.

A policy says it: `median` of the rows trained on, `last`, the value of the row before it of the
same entity, or `refuse`. A row in which too many values are missing is refused all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from train.table.cells import IS_MISSING, CellFlaw, split_names
from train.table.table import Table
from vigil.arrays import Flags, Floats
from vigil.errors import DataError
from vigil.json_types import JsonObject

ImputePolicy = Literal["median", "last", "refuse"]
DEFAULT_MAX_MISSING = 0.5
_POLICIES: tuple[str, ...] = get_args(ImputePolicy)
_HINT = 'a policy is median, last or refuse: "median", or "cpu:last,net:median"'


def parse_impute(text: str) -> dict[str, ImputePolicy]:
    """Return the policies of an option by feature, that of all others under "".

    Raises ValueError.
    """
    policies: dict[str, ImputePolicy] = {}
    for part in split_names(text):
        feature, _, word = part.rpartition(":")
        if word not in _POLICIES or feature in policies:
            raise ValueError(f"{part!r}: {_HINT}")
        policies[feature] = msgspec.convert(word, ImputePolicy)
    return policies


@dataclass(frozen=True)
class Imputing:
    """What is asked for, before anything is learnt: see `Imputation`."""

    policies: Mapping[str, ImputePolicy]
    max_missing: float = DEFAULT_MAX_MISSING

    def learn(self, rows: Table, features: int | None = None) -> Imputation:
        """Return the imputation of a table, from a sample of its rows with values missing.

        features: how many are sent, where there are other columns. Raises DataError for a feature
        that is not there, or has no values at all.
        """
        for feature in self.policies:
            if feature and feature not in rows.names:
                raise DataError(f"there is no feature {feature!r} to impute", field=feature)
        others: ImputePolicy = self.policies.get("", "refuse")
        chosen: list[ImputePolicy] = [self.policies.get(name, others) for name in rows.names]
        medians = _medians(rows, chosen)
        return Imputation(
            rows.names,
            tuple(chosen),
            medians,
            self.max_missing,
            sent=features,
        )


@dataclass(frozen=True)
class Imputation:
    """Policies and medians of d features.

    max_missing: share of the features beyond which a row is refused; sent: how many features a
    caller sends, of which categories become several columns; None: the d
    """

    names: tuple[str, ...]
    policies: tuple[ImputePolicy, ...]
    medians: tuple[float, ...]
    max_missing: float = DEFAULT_MAX_MISSING
    sent: int | None = None

    def refused_rows(self, X: Floats) -> Flags:
        """Return which of the rows [n, d] miss a value that they may not, or too many."""
        missing = np.isnan(X)
        too_many = missing.sum(axis=1) / self._features > self.max_missing
        return too_many | self._refused(missing).any(axis=1)

    @property
    def _features(self) -> int:
        return len(self.names) if self.sent is None else self.sent

    def _refused(self, missing: Flags) -> Flags:
        """Which of the missing values [n, d] may not be missing."""
        return missing & np.array([policy == "refuse" for policy in self.policies])

    def first_flaw(self, X: Floats) -> CellFlaw | None:
        """Return the first value of `X` [n, d] that may not be missing, or is one too many."""
        is_refused = self.refused_rows(X)
        if not is_refused.any():
            return None
        row = int(np.argmax(is_refused))
        missing = np.isnan(X[row : row + 1])
        refused = self._refused(missing)
        if refused.any():
            return CellFlaw(row, int(np.argmax(refused)), IS_MISSING)
        share = missing.sum() / self._features
        reason = f"{IS_MISSING}, as are {share:.0%} of the row: more than may be"
        return CellFlaw(row, int(np.argmax(missing)), reason)

    def fill(
        self,
        X: Floats,
        entities: Sequence[str] | NDArray[Any] | None = None,
    ) -> Floats:
        """Return the rows [n, d] without missing values; `entities` [n]: whose they are.

        Where no row of the entity has a value before, the median stands for `last` too.
        """
        filled = np.array(X, np.float64)
        for column in np.flatnonzero(np.isnan(X).any(axis=0)).tolist():
            values = filled[:, column]
            if self.policies[column] == "last":
                values = _carried(values, entities)
            filled[:, column] = np.where(np.isnan(values), self.medians[column], values)
        return filled

    def to_json(self) -> JsonObject:
        values: JsonObject = {
            "names": list(self.names),
            "policies": list(self.policies),
            "medians": list(self.medians),
            "max_missing": self.max_missing,
        }
        return values if self.sent is None else {**values, "sent": self.sent}

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError unless it is one of these features."""
        is_whole = len(self.policies) == len(self.medians) == len(names)
        if self.names != names or not is_whole:
            raise ValueError("the imputation is not that of the features")
        if (
            self._features < 1
            or not np.isfinite(self.medians).all()
            or not 0 <= self.max_missing <= 1
        ):
            raise ValueError("the imputation has values that are none")


def imputation_of_model(model: JsonObject, names: tuple[str, ...]) -> Imputation | None:
    """Return the imputation in the values of a bundle's model, None where it has none.

    names: of the model's features. Raises ValueError, TypeError or LookupError.
    """
    transform = model.get("over_time")
    if transform is not None:  # it is of what the transform is given
        names = tuple(map(str, transform["names"]))
    return read_imputation(model.get("impute"), names)


def read_imputation(stored: JsonObject | None, names: tuple[str, ...]) -> Imputation | None:
    """Return what `Imputation.to_json` gave, None for None.

    Raises ValueError, TypeError or LookupError for anything but an imputation of these features.
    """
    if stored is None:
        return None
    imputation = Imputation(
        names=tuple(map(str, stored["names"])),
        policies=msgspec.convert(stored["policies"], tuple[ImputePolicy, ...]),
        medians=tuple(map(float, stored["medians"])),
        max_missing=float(stored["max_missing"]),
        sent=msgspec.convert(stored.get("sent"), int | None),
    )
    imputation.check(names)
    return imputation


class TableImputer:
    """Fills the chunks of a table in their order; the last value of each entity is carried on."""

    def __init__(self, imputation: Imputation) -> None:
        self._imputation = imputation
        self._last: dict[str, Floats] = {}

    def fill(self, rows: Table) -> Table:
        """Return the rows without missing values."""
        if "last" not in self._imputation.policies:
            return replace(rows, X=self._imputation.fill(rows.X))
        X = rows.X.copy()
        for entity, numbers in rows.by_entity():
            X[numbers] = self._follow(entity, rows.X[numbers])
        return replace(rows, X=X)

    def _follow(self, entity: str, X: Floats) -> Floats:
        former = self._last.get(entity, np.empty((0, X.shape[1])))
        filled = self._imputation.fill(np.concatenate([former, X]))
        self._last[entity] = filled[-1:]
        return filled[len(former) :]


def missing_counts(X: Floats) -> NDArray[np.int64]:
    """Return how many values of each feature [d] are missing in the rows [n, d]."""
    return np.isnan(X).sum(axis=0)


def _medians(rows: Table, policies: Sequence[ImputePolicy]) -> tuple[float, ...]:
    """0 where no value may be missing."""
    medians: list[float] = []
    for column, (name, policy) in enumerate(zip(rows.names, policies, strict=True)):
        values = rows.X[:, column]
        known = values[~np.isnan(values)]
        if policy != "refuse" and not len(known):
            raise DataError(
                f"column {name!r} has no values at all: leave it out (--ignore)", field=name
            )
        medians.append(float(np.median(known)) if policy != "refuse" else 0.0)
    return tuple(medians)


def _carried(
    values: Floats,
    entities: Sequence[str] | NDArray[Any] | None,
) -> Floats:
    """The last value before each missing one, NaN where there is none."""
    if entities is None:
        return _carried_forward(values)
    carried = values.copy()
    named = np.asarray(entities, dtype=object)
    for entity in dict.fromkeys(named.tolist()):
        own: Flags = named == entity
        carried[own] = _carried_forward(values[own])
    return carried


def _carried_forward(values: Floats) -> Floats:
    places = np.where(np.isnan(values), -1, np.arange(len(values)))
    last = np.maximum.accumulate(places)
    return np.where(last < 0, np.nan, values[np.maximum(last, 0)])
