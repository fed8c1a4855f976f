"""One pass over the rows of a split: what is kept of them, and what identifies the rest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from train.table.categories import CategoryCodec
from train.table.impute import Imputation, TableImputer, missing_counts
from train.table.label_leak import ClassExtremes
from train.table.reader import CHUNK_VALUES, flaw_error, read_split
from train.table.sample import RandomSample, Reservoir, Tail
from train.table.schema import Columns
from train.table.source import FileSplit
from train.table.table import Table, concat
from train.table.time_order import TimeOrder
from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.fitted import FittedSteps
from train.table.transform.fitting import table_times
from train.table.transform.grammar import Step
from vigil.arrays import Floats
from vigil.errors import DataError

_STRIDE = 2**40  # of row indices from split to split


@dataclass(frozen=True)
class ScanPlan:
    """What every task of a scan does.

    max_rows: rows to keep, of the sample and of the last ones; steps: of the transform, and what
    they have learnt; key_limit: only rows with a smaller random key are kept; must_times_rise: see
    TimeOrder; keeps_context: rows keep their times and entities; imputation: of missing values
    """

    columns: Columns
    max_rows: int
    seed: int = 0
    steps: tuple[Step, ...] = ()
    fitted: FittedSteps = field(default_factory=FittedSteps)
    allow_missing: bool = False
    key_limit: float = 1.0
    chunk_values: int = CHUNK_VALUES
    must_times_rise: bool = True
    keeps_context: bool = False
    imputation: Imputation | None = None
    categories: CategoryCodec | None = None

    def numeric(self, rows: Table) -> Table:
        """Return the rows with numbers for words, where that is wanted."""
        if self.categories is None:
            return rows
        return self.categories.apply(rows)

    @property
    def takes_missing(self) -> bool:
        return self.allow_missing or self.imputation is not None


@dataclass(frozen=True)
class ScanResult:
    """What a pass over one or more splits has found.

    raw_names: of the features in the files; rows: how many there are; sample: rows with the
    smallest keys; tail: the last rows, in order; digests: sha256 by column, one for each split;
    test: rows to judge by; missing: how many values of each raw feature [d] were missing;
    unknown: how many rows have a word that the codec does not know, by category
    """

    raw_names: tuple[str, ...]
    transform: FeatureTransform | None
    rows: int
    sample: RandomSample
    tail: Table
    digests: Mapping[str, tuple[str, ...]]
    time_order: TimeOrder
    test: Table | None
    extremes: ClassExtremes | None
    missing: NDArray[np.int64]
    unknown: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Features of the model."""
        return self.sample.rows.names

    @property
    def is_labelled(self) -> bool:
        return self.sample.rows.labels is not None


def scan_split(
    split: FileSplit,
    number: int,
    plan: ScanPlan,
    tail_rows: int,
) -> ScanResult:
    """Read one split, keeping at most `plan.max_rows` random rows and its last `tail_rows` rows.

    Raises DataError for rows that cannot be learnt from.
    """
    scanner: _SplitScanner | None = None
    chunks = read_split(
        split,
        plan.columns,
        allow_missing=plan.takes_missing,
        chunk_values=plan.chunk_values,
    )
    for rows in map(plan.numeric, chunks):
        if scanner is None:
            scanner = _SplitScanner(
                rows,
                split,
                number,
                plan=plan,
                tail_rows=tail_rows,
            )
        scanner.add(rows)
    if scanner is None:
        raise DataError(f"{split.file.path} has 0 rows")
    return scanner.result()


def _reservoir(columns: Table, number: int, plan: ScanPlan) -> Reservoir:
    """The sample of a split, which is drawn by its number."""
    return Reservoir(
        columns,
        plan.max_rows,
        np.random.default_rng([plan.seed, number]),
        key_limit=plan.key_limit,
    )


def _extremes_of(rows: Table) -> ClassExtremes | None:
    """None without labels."""
    if rows.labels is None:
        return None
    return ClassExtremes.of_columns(len(rows.names))


class _SplitScanner:
    """Gathers the chunks of one split; `first` is the first of them."""

    _rows = 0

    def __init__(
        self,
        first: Table,
        split: FileSplit,
        number: int,
        *,
        plan: ScanPlan,
        tail_rows: int,
    ) -> None:
        self._raw_names = first.names
        self._split = split
        self._number = number
        self._features = ModelFeatures(
            first.names,
            plan.steps,
            plan.fitted,
            keeps_context=plan.keeps_context,
        )
        model_rows = self._features.empty(first)
        self._reservoir = _reservoir(model_rows, number, plan)
        self._tail = Tail(model_rows, tail_rows)
        self._tests: list[Table] = []
        self._digests = _ColumnDigests(first)
        self._time_order = TimeOrder(plan.must_times_rise)
        self._missing = np.zeros(len(first.names), np.int64)
        self._plan = plan
        self._imputer = TableImputer(plan.imputation) if plan.imputation else None
        self._extremes = _extremes_of(first)
        self._unknown = Counter[str]()

    def add(self, rows: Table) -> None:
        """Take in the rows that follow."""
        if rows.is_test:
            self._tests.append(self._features.of_test(self._filled(rows)))
            return
        self._digests.add(rows)
        self._missing += missing_counts(rows.X)
        if self._plan.categories is not None:
            self._unknown.update(self._plan.categories.unknown_counts(rows.X))
        rows = self._filled(rows)
        if self._extremes is not None:
            self._extremes.add(rows)
        self._time_order.add(rows, self._split.file)
        self._rows += len(rows)
        model_rows = self._features.of_training(rows, self._number * _STRIDE)
        self._reservoir.add(model_rows)
        self._tail.add(model_rows)

    def _filled(self, rows: Table) -> Table:
        """The rows without missing values, where these may be."""
        imputation = self._plan.imputation
        if imputation is None or self._imputer is None:
            return rows
        flaw = imputation.first_flaw(rows.X)
        if flaw is not None:
            raise flaw_error(rows, self._split.file, flaw)
        return self._imputer.fill(rows)

    def result(self) -> ScanResult:
        return ScanResult(
            raw_names=self._raw_names,
            transform=self._features.transform,
            rows=self._rows,
            sample=self._reservoir.sample(),
            tail=self._tail.rows(),
            digests=self._digests.by_column(),
            time_order=self._time_order,
            test=concat(self._tests) if self._tests else None,
            extremes=self._extremes,
            missing=self._missing,
            unknown={name: count for name, count in self._unknown.items() if count},
        )


class ModelFeatures:
    """Computes the rows of the model, chunk by chunk, from raw rows and those before them.

    steps: of the transform; fitted: what they have learnt; keeps_context: rows keep their times and
    entities
    """

    def __init__(
        self,
        names: tuple[str, ...],
        steps: tuple[Step, ...],
        fitted: FittedSteps | None = None,
        *,
        keeps_context: bool = False,
    ) -> None:
        self.transform = FeatureTransform(names, steps, fitted or FittedSteps()) if steps else None
        self.names = self.transform.outputs if self.transform else names
        self._keeps_context = keeps_context
        self._streams: dict[str, _EntityStream] = {}

    def empty(self, rows: Table) -> Table:
        """No rows, with the columns of the model."""
        none = rows.take(slice(0, 0))
        return self._with_features(none, np.empty((0, len(self.names))))

    def of_test(self, rows: Table) -> Table:
        """All rows: those to test on follow those to train on."""
        return self.compute(rows)[0]

    def of_training(
        self,
        rows: Table,
        offset: int,
    ) -> Table:
        """The rows that have all the earlier ones that they need: only these are learnt from."""
        model_rows, is_complete = self.compute(rows)
        model_rows = model_rows.with_index_from(offset)
        return model_rows if is_complete.all() else model_rows.take(is_complete)

    def compute(self, rows: Table) -> tuple[Table, NDArray[np.bool_]]:
        """Return the rows of the model, and which of them have all the earlier ones they need."""
        is_complete = np.ones(len(rows), bool)
        transform = self.transform
        if transform is None:
            return self._with_features(rows, rows.X), is_complete
        X = np.empty((len(rows), len(self.names)))
        times = table_times(rows) if transform.needs_time else None
        for entity, numbers in rows.by_entity():
            stream = self._stream(entity, transform)
            is_complete[numbers] = stream.seen + np.arange(len(numbers)) >= transform.warming_rows
            own_times = None if times is None else times[numbers]
            X[numbers] = stream.follow(rows.X[numbers], own_times)
        return self._with_features(rows, X), is_complete

    def _with_features(self, rows: Table, X: Floats) -> Table:
        if self._keeps_context:
            return replace(rows, X=X, names=self.names)
        return rows.with_features(X, self.names)

    def _stream(self, entity: str, transform: FeatureTransform) -> _EntityStream:
        if entity not in self._streams:
            self._streams[entity] = _EntityStream(transform)
        return self._streams[entity]


class _EntityStream:
    """The rows of one entity so far, as far as those that follow need them; `seen` is how many."""

    def __init__(self, transform: FeatureTransform) -> None:
        self.seen = 0
        self._transform = transform
        self._past = np.empty((0, len(transform.names)))
        self._carried = transform.initial_carried

    def follow(
        self,
        X: Floats,
        times: Floats | None,
    ) -> Floats:
        """Return the model's rows [n, D] of the rows `X` [n, d] that follow."""
        rows, self._carried = self._transform.follow(
            X,
            self._past,
            times,
            past_carried=self._carried,
        )
        self._past = np.concatenate([self._past, X])[-max(self._transform.length, 1) :]
        self.seen += len(X)
        return rows


class _ColumnDigests:
    """sha256 of each column, and of the labels, over the chunks of a split."""

    def __init__(self, first: Table) -> None:
        self._columns = {name: hashlib.sha256() for name in first.names}
        if first.labels is not None:
            self._columns["label"] = hashlib.sha256()

    def add(self, rows: Table) -> None:
        for j, name in enumerate(rows.names):
            self._columns[name].update(np.ascontiguousarray(rows.X[:, j]).data)
        if rows.labels is not None:
            self._columns["label"].update(np.ascontiguousarray(rows.labels).data)

    def by_column(self) -> dict[str, tuple[str, ...]]:
        return {name: (digest.hexdigest(),) for name, digest in self._columns.items()}
