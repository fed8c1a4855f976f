"""Incidents that people have judged, as labels: what a service answers, and scores of a forest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np

from train.model.bundle import ModelBundle
from vigil.arrays import Floats
from vigil.errors import DataError
from vigil.json_types import JsonObject
from vigil.service import Service


class JudgedRows(msgspec.Struct, frozen=True):
    """The worst rows [m][d] of an incident, and whether people have confirmed or dismissed it.

    names: of the d features
    """

    incident: str
    confirmed: bool
    names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]


class JudgedScores(NamedTuple):
    """The highest score of each confirmed incident, and of each dismissed one."""

    confirmed: Floats
    dismissed: Floats


def fetch_judged(service: Service) -> list[JudgedRows]:
    """Return what the service knows of incidents that were judged. Raises Unanswered."""
    return read_judged(service.get("/verdicts"))


def read_judged(document: JsonObject) -> list[JudgedRows]:
    """Return the incidents of what `GET /verdicts` answers. Raises DataError."""
    try:
        return msgspec.convert(document["incidents"], list[JudgedRows])
    except (KeyError, msgspec.ValidationError) as error:
        raise DataError(f"the service's answer has no judged incidents: {error}") from error


def score_judged(bundle: ModelBundle, judged: Iterable[JudgedRows]) -> JudgedScores:
    """Score incidents whose rows have the features of a model, in whatever order.

    Raises DataError unless some of them are confirmed, and some dismissed.
    """
    confirmed = _scores(bundle, judged, True)
    dismissed = _scores(bundle, judged, False)
    if not len(confirmed) or not len(dismissed):
        raise DataError(
            f"{len(confirmed)} confirmed and {len(dismissed)} dismissed incidents "
            "with the champion's features: a threshold by verdicts needs some of each; "
            "`vigil incidents confirm ID` and `dismiss ID` give them"
        )
    return JudgedScores(confirmed, dismissed)


def _scores(
    bundle: ModelBundle,
    judged: Iterable[JudgedRows],
    confirmed: bool,
) -> Floats:
    """The highest score of each such incident that has rows."""
    asked = [incident for incident in judged if incident.confirmed == confirmed]
    rows = [_rows_of(bundle, incident) for incident in asked]
    highest = [bundle.forest.score(each).max() for each in rows if len(each)]
    return np.array(highest, np.float64)


def _rows_of(bundle: ModelBundle, incident: JudgedRows) -> Floats:
    """Its rows in the order of the model's features; none where it has others."""
    features = len(bundle.names)
    if set(incident.names) != set(bundle.names):
        return np.empty((0, features))
    order = [incident.names.index(name) for name in bundle.names]
    rows = np.array(incident.rows, np.float64)
    return rows.reshape(-1, features)[:, order]
