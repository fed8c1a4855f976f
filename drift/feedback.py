"""What people say of scored requests, late, twice or early: it gives precision and recall.

Only what was labelled counts. Who labels alerts alone learns the precision; a recall needs labels
of rows that did not alert.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from prometheus_client import Gauge

from serve.metrics import DriftMetrics
from train.table.captured import AnsweredRows, CapturedWindows
from vigil.home import write_json
from vigil.json_types import JsonObject, Numbers
from vigil.latest import LatestDict
from vigil.statistics import share_interval

log = logging.getLogger("ray.serve")
_TRUE_POSITIVE = "true_positive"
_FALSE_POSITIVE = "false_positive"
_FALSE_NEGATIVE = "false_negative"
_TRUE_NEGATIVE = "true_negative"
_OUTCOMES = (_TRUE_POSITIVE, _FALSE_POSITIVE, _FALSE_NEGATIVE, _TRUE_NEGATIVE)
_BOUNDS = ("value", "low", "high")
_UNREADABLE = (OSError, ValueError, TypeError, LookupError)
_Requests = Collection[str]


class RowKey(NamedTuple):
    """A row of a request."""

    request: str
    row: int


class AnsweredRow(NamedTuple):
    """What a version said of a row: whether it alerts."""

    alert: bool
    version: str


_AnswersByKey = dict[RowKey, AnsweredRow]


class LabelledRow(NamedTuple):
    """What a person said of a row, beside what the version had said."""

    anomaly: bool
    alert: bool
    version: str

    @property
    def answer(self) -> AnsweredRow:
        return AnsweredRow(self.alert, self.version)

    @property
    def outcome(self) -> str:
        if self.alert:
            return _TRUE_POSITIVE if self.anomaly else _FALSE_POSITIVE
        return _FALSE_NEGATIVE if self.anomaly else _TRUE_NEGATIVE


@dataclass(frozen=True)
class Label:
    """A person's word on one row: whether it was an anomaly."""

    request_id: str
    anomaly: bool
    row: int = 0

    @property
    def key(self) -> RowKey:
        return RowKey(self.request_id, self.row)

    def of(self, answer: AnsweredRow) -> LabelledRow:
        return LabelledRow(self.anomaly, answer.alert, answer.version)


@dataclass(frozen=True)
class FeedbackLimits:
    """How many of the latest are remembered: rows that were answered, labels, and labels that wait
    for their rows."""

    answered: int = 50_000
    labels: int = 20_000
    waiting: int = 10_000


class _Answers:
    """The latest answers as they came: most rows nobody ever labels."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._batches: deque[AnsweredRows] = deque()
        self._rows = 0

    def add(self, batch: AnsweredRows) -> None:
        self._batches.append(batch)
        self._rows += len(batch.requests)
        while self._rows > self._limit:
            oldest = self._batches.popleft()
            self._rows -= len(oldest.requests)

    def rows_of(self, requests: _Requests) -> _AnswersByKey:
        return _rows_of(self._batches, requests)


class Feedback:
    """Labels beside what was answered; kept in `file`."""

    def __init__(
        self,
        file: Path,
        metrics: DriftMetrics,
        limits: FeedbackLimits | None = None,
    ) -> None:
        limits = limits or FeedbackLimits()
        self._file = file
        self._metrics = metrics
        self._answers = _Answers(limits.answered)
        self._labels: LatestDict[RowKey, LabelledRow] = LatestDict(limits.labels)
        # Labels that came before their rows: whether it was an anomaly.
        self._waiting: LatestDict[RowKey, bool] = LatestDict(limits.waiting)
        # By version, since the last label: they are asked for each second.
        self._figures: dict[str | None, JsonObject] = {}
        self._load()

    def answered(self, batch: AnsweredRows) -> None:
        """Take in rows that a version has scored."""
        self._answers.add(batch)
        if self._waiting:
            self._match_waiting(batch)

    def _match_waiting(self, batch: AnsweredRows) -> None:
        awaited = {key.request for key in self._waiting}
        answers = _rows_of([batch], awaited)
        matched = answers.keys() & self._waiting.keys()
        for key in matched:
            anomaly = self._waiting.pop(key)
            label = Label(key.request, anomaly, key.row)
            self._labels.put(key, label.of(answers[key]))
        if answers:
            self._save()

    def tell(
        self,
        labels: list[Label],
        captured: CapturedWindows | None = None,
    ) -> dict[str, int]:
        """Take in labels; the last word on a row counts.

        Says how many were matched, and how many wait for their rows.

        What is not remembered here is looked for among the `captured` rows.
        """
        answers = self._answers_to(labels)
        if captured is not None:
            answers = _captured_answers(labels, answers, captured) | answers
        taken = [self._take(label, answers) for label in labels]
        matched = sum(taken)
        self._save()
        return {"matched": matched, "waiting": len(labels) - matched}

    def _answers_to(self, labels: Iterable[Label]) -> _AnswersByKey:
        """What is remembered of the rows that are labelled."""
        requests = {label.request_id for label in labels}
        labelled = {key: row.answer for key, row in self._labels.items()}
        answered = self._answers.rows_of(requests)
        return labelled | answered

    def _take(self, label: Label, answers: _AnswersByKey) -> bool:
        """Take in a label; return whether its row is among the answers."""
        key = label.key
        answer = answers.get(key)
        if answer is None:
            self._waiting.put(key, label.anomaly)
            return False
        self._labels.put(key, label.of(answer))
        return True

    def figures(self, version: str | None = None) -> JsonObject:
        """Counts, precision and recall of `version` (default: all), with Wilson's 95 % interval."""
        if version not in self._figures:
            self._figures[version] = self._count_up(version)
        return self._figures[version]

    def status(self, champion: str | None) -> JsonObject:
        """Return what `/drift` shows: the figures of all versions, and of the champion."""
        return {
            "all": self.figures(),
            "champion": self.figures(champion),
        }

    def _count_up(self, version: str | None) -> JsonObject:
        counts = self._count_outcomes(version)
        hits = counts[_TRUE_POSITIVE]
        return {
            "labelled": sum(counts.values()),
            "waiting": len(self._waiting),
            **counts,
            "precision": _share(hits, hits + counts[_FALSE_POSITIVE]),
            "recall": _share(hits, hits + counts[_FALSE_NEGATIVE]),
        }

    def _count_outcomes(self, version: str | None) -> dict[str, int]:
        return dict.fromkeys(_OUTCOMES, 0) | Counter(row.outcome for row in self._rows_of(version))

    def _rows_of(self, version: str | None) -> Iterator[LabelledRow]:
        """What was labelled of a version; None: of all."""
        return (row for row in self._labels.values() if version in (None, row.version))

    def _tell_metrics(self) -> None:
        self._figures = {}
        figures = self.figures()
        for outcome in _OUTCOMES:
            self._metrics.feedback.labels(outcome).set(figures[outcome])
        _set_share(self._metrics.precision, figures["precision"])
        _set_share(self._metrics.recall, figures["recall"])

    def _load(self) -> None:
        try:
            stored = json.loads(self._file.read_text())
            labels = [_read_label(*fields) for fields in stored["labels"]]
            waiting = [_read_waiting(*fields) for fields in stored["waiting"]]
        except FileNotFoundError:
            return
        except _UNREADABLE as error:
            log.warning("the feedback %s cannot be read, it starts anew: %s", self._file, error)
            return
        self._labels.update(labels)
        self._waiting.update(waiting)
        self._tell_metrics()

    def _save(self) -> None:
        self._tell_metrics()
        stored = {
            "labels": [(*key, *row) for key, row in self._labels.items()],
            "waiting": [(*key, anomaly) for key, anomaly in self._waiting.items()],
        }
        try:
            write_json(self._file, stored)
        except OSError as error:
            log.warning("the feedback cannot be written: %s", error)


def _row_keys(batch: AnsweredRows) -> Iterator[RowKey]:
    numbers = batch.numbering[:, 0].tolist()
    return map(RowKey, batch.requests, numbers)


def _rows_of(batches: Iterable[AnsweredRows], requests: _Requests) -> _AnswersByKey:
    """Answers to the rows of these requests."""
    answers: _AnswersByKey = {}
    for batch in batches:
        rows = zip(_row_keys(batch), batch.alerts, strict=True)
        for key, alert in rows:
            if key.request in requests:
                answers[key] = AnsweredRow(bool(alert), batch.version)
    return answers


def _captured_answers(
    labels: Iterable[Label],
    answers: _AnswersByKey,
    captured: CapturedWindows,
) -> _AnswersByKey:
    """Answers among the captured rows to those labels that have none yet."""
    missing = _unanswered(labels, answers)
    if not missing:
        return {}
    return _rows_of(captured.answers(missing), missing)


def _unanswered(labels: Iterable[Label], answers: _AnswersByKey) -> set[str]:
    """Requests with a label that has no answer."""
    return {label.request_id for label in labels if label.key not in answers}


def _read_label(
    request: str,
    row: int,
    anomaly: bool,
    alert: bool,
    version: str,
) -> tuple[RowKey, LabelledRow]:
    return RowKey(str(request), int(row)), LabelledRow(bool(anomaly), bool(alert), str(version))


def _read_waiting(
    request: str,
    row: int,
    anomaly: bool,
) -> tuple[RowKey, bool]:
    return RowKey(str(request), int(row)), bool(anomaly)


def _share(hits: int, trials: int) -> dict[str, float] | None:
    """A share with its 95 % confidence interval; None without trials."""
    if not trials:
        return None
    bounds = share_interval(hits, trials)
    return {"value": hits / trials, "low": bounds.low, "high": bounds.high}


def _set_share(gauge: Gauge, share: Numbers | None) -> None:
    if share is None:
        return
    for bound in _BOUNDS:
        gauge.labels(bound).set(share[bound])
