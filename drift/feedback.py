"""What people say of scored requests, late, twice or early: it gives precision and recall.

Only what was labelled counts. Who labels alerts alone learns the precision; a recall needs labels
of rows that did not alert.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.metrics import DriftMetrics
from train.table.captured import CapturedWindows
from vigil.home import write_json
from vigil.statistics import share_interval

log = logging.getLogger("ray.serve")
ANSWERED = 50_000
LABELS = 20_000
WAITING = 10_000  # of each so many are remembered, the latest
_LABEL_OUTCOMES = {
    (True, True): "true_positive",
    (True, False): "false_positive",
    (False, True): "false_negative",
    (False, False): "true_negative",
}
Key = tuple[str, int]  # request id, row of the request


@dataclass(frozen=True)
class Label:
    """A person's word on one row: whether it was an anomaly."""

    request_id: str
    anomaly: bool
    row: int = 0

    @property
    def key(self) -> Key:
        return self.request_id, self.row


class Feedback:
    """Labels beside what was answered; kept in `file`."""

    def __init__(self, file: Path, metrics: DriftMetrics) -> None:
        self._file = file
        self._metrics = metrics
        # As they came, and looked into only when somebody says something: most rows nobody ever
        # labels.
        self._answered: deque[tuple[list[str], NDArray[np.bool_], str]] = (
            deque()
        )  # requests, alerts, version
        self._count = 0
        self._labels: OrderedDict[Key, tuple[bool, bool, str]] = (
            OrderedDict()
        )  # anomaly, alert, version
        self._waiting: OrderedDict[Key, bool] = OrderedDict()  # labels that came before their rows
        self._figures: dict[
            str | None, dict[str, Any]
        ] = {}  # since the last word: they are asked for each second
        self._load()

    def answered(self, requests: list[str], alerts: NDArray[np.bool_], version: str) -> None:
        """Rows that `version` has scored, those of one request in sequence."""
        self._answered.append((requests, alerts, version))
        self._count += len(requests)
        while self._count > ANSWERED:
            self._count -= len(self._answered.popleft()[0])
        if self._waiting:
            found = _rows([(requests, alerts, version)], {request for request, _ in self._waiting})
            for key in found.keys() & self._waiting.keys():
                _put(self._labels, key, (self._waiting.pop(key), *found[key]), LABELS)
            if found:
                self._save()

    def tell(self, labels: list[Label], captured: CapturedWindows | None = None) -> dict[str, int]:
        """Take in labels; the last word on a row counts.

        Says how many were matched, and how many wait for their rows.

        What is not remembered here is looked for among the `captured` rows.
        """
        known = {key: (alert, version) for key, (_, alert, version) in self._labels.items()}
        known |= _rows(self._answered, {label.request_id for label in labels})
        if captured is not None and (
            missing := {label.request_id for label in labels if label.key not in known}
        ):
            known = _rows(captured.answers(missing), missing) | known
        waiting = 0
        for label in labels:
            if label.key in known:
                _put(self._labels, label.key, (label.anomaly, *known[label.key]), LABELS)
            else:
                _put(self._waiting, label.key, label.anomaly, WAITING)
                waiting += 1
        self._save()
        return {"matched": len(labels) - waiting, "waiting": waiting}

    def figures(self, version: str | None = None) -> dict[str, Any]:
        """Counts, precision and recall of `version` (default: all), with Wilson's 95 % interval."""
        if version not in self._figures:
            self._figures[version] = self._count_up(version)
        return self._figures[version]

    def _count_up(self, version: str | None) -> dict[str, Any]:
        counts = dict.fromkeys(_LABEL_OUTCOMES.values(), 0)
        for anomaly, alert, by in self._labels.values():
            if version is None or by == version:
                counts[_LABEL_OUTCOMES[alert, anomaly]] += 1
        right = counts["true_positive"]
        return {
            "labelled": sum(counts.values()),
            "waiting": len(self._waiting),
            **counts,
            "precision": _share(right, right + counts["false_positive"]),
            "recall": _share(right, right + counts["false_negative"]),
        }

    def _tell_metrics(self) -> None:
        self._figures = {}
        found = self.figures()
        for outcome in _LABEL_OUTCOMES.values():
            self._metrics.feedback.labels(outcome).set(found[outcome])
        for gauge, share in (
            (self._metrics.precision, found["precision"]),
            (self._metrics.recall, found["recall"]),
        ):
            for bound in ("value", "low", "high"):
                if share is not None:
                    gauge.labels(bound).set(share[bound])

    def _load(self) -> None:
        try:
            saved = json.loads(self._file.read_text())
            labels = {
                (str(r), int(i)): (bool(a), bool(b), str(v)) for r, i, a, b, v in saved["labels"]
            }
            waiting = {(str(r), int(i)): bool(a) for r, i, a in saved["waiting"]}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, LookupError) as error:
            log.warning("the feedback %s cannot be read, it starts anew: %s", self._file, error)
            return
        self._labels = OrderedDict(labels)
        self._waiting = OrderedDict(waiting)
        self._tell_metrics()

    def _save(self) -> None:
        self._tell_metrics()
        try:
            write_json(
                self._file,
                {
                    "labels": [(*key, *value) for key, value in self._labels.items()],
                    "waiting": [(*key, value) for key, value in self._waiting.items()],
                },
            )
        except OSError as error:
            log.warning("the feedback cannot be written: %s", error)


def _rows(
    batches: Iterable[tuple[list[str], NDArray[np.bool_], str]], wanted: set[str]
) -> dict[Key, tuple[bool, str]]:
    """Alert and version of the rows of the `wanted` requests."""
    found: dict[Key, tuple[bool, str]] = {}
    for requests, alerts, version in batches:
        before = None
        row = 0
        for i, request in enumerate(requests):
            row = row + 1 if request == before else 0
            before = request
            if request in wanted:
                found[request, row] = bool(alerts[i]), version
    return found


def _share(hits: int, trials: int) -> dict[str, float] | None:
    """A share with its 95 % confidence interval; None without trials."""
    if not trials:
        return None
    bounds = share_interval(hits, trials)
    return {"value": hits / trials, "low": bounds.low, "high": bounds.high}


def _put(store: OrderedDict[Key, Any], key: Key, value: Any, most: int) -> None:
    store[key] = value
    store.move_to_end(key)
    while len(store) > most:
        store.popitem(last=False)
