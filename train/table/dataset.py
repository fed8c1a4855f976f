"""Read, validate and split a table: the only reader of training data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train.table.categories import CategoryCodec
from train.table.category_counts import learn_categories
from train.table.checks import check_scanned
from train.table.default_context import default_context, describe_default, why_not
from train.table.impute import Imputation, Imputing
from train.table.reader import CHUNK_VALUES, SPLIT_ROWS, read_head, read_split, split_files
from train.table.remarks import remarks_on_missing, remarks_on_order, remarks_on_words
from train.table.roles import TableRoles, clean_columns, recognise_roles
from train.table.row_making import RowMaking
from train.table.scan import scan_table
from train.table.schema import Columns, Schema, save_schema
from train.table.source import File, FileSplit, find_files
from train.table.split_scan import ScanPlan, ScanResult
from train.table.table import Table
from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.fitted import FittedSteps
from train.table.transform.fitting import fit_steps
from train.table.transform.grammar import Step, parse_steps
from train.table.words import DeclaredCategory
from vigil.digests import text_digest
from vigil.errors import DataError

_ALL_ROWS = 2**62
_FITTING_ROWS = 200_000  # are enough for the steps of a transform to learn from


@dataclass(frozen=True)
class Fingerprint:
    """What was read.

    digest: sha256 over names, rows and the hashes of all columns, wherever the files lie
    """

    digest: str
    rows: int
    files: tuple[File, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """Rows to train on and, where the files have them, rows to test on.

    train: all rows, or a random sample of them in their order; recent: as many of the latest,
    without gaps; transform: what made their features from those of the files; unused: columns of
    the files that are no features; context_columns: those of them that say whose a row is, and of
    when; remarks: what people should know of its columns and their order; over_time: the transform
    as it is written; imputation: of values that were missing; categories: what makes numbers of
    words; unknown: how many rows have a word that it does not know, by category
    """

    train: Table
    test: Table | None = None
    recent: Table | None = None
    fingerprint: Fingerprint = Fingerprint("", 0)
    transform: FeatureTransform | None = None
    unused: tuple[str, ...] = ()
    context_columns: Mapping[str, str | None] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    over_time: str = ""
    imputation: Imputation | None = None
    categories: CategoryCodec | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)


def read_table(
    path: str | Path,
    *,
    columns: Columns | None = None,
    allow_missing: bool = False,
    max_rows: int = _ALL_ROWS,
    seed: int = 0,
    over_time: str | None = "",
    imputing: Imputing | None = None,
    making: RowMaking | None = None,
    keeps_context: bool = False,
    keeps_words: bool = False,
    tasks: int = 1,
    on_rows: Callable[[int], None] = lambda _: None,
    fit_share: float = 1.0,
    split_rows: int = SPLIT_ROWS,
    chunk_values: int = CHUNK_VALUES,
) -> Dataset:
    """Read a file, folder or glob, local or s3://, of CSV, Parquet or .npz.

    An .npz file has the arrays `train` or `X`; `test` with `label`, or `y`, where present. At most
    `max_rows` random rows and as many latest ones are kept; the whole table is scanned and
    fingerprinted, `split_rows` in a task, `chunk_values` at once. `over_time` declares a transform
    (train/table/transform/), None: the default of such rows; it is applied before rows are chosen,
    and its steps learn from the earliest `fit_share` of the rows, in passes over the table before
    the last. With `making` rows are made as a model makes them, whatever else is said of that.
    With `keeps_context` rows keep their entities and times, with `keeps_words` the words of their
    categories, which are learnt in a pass of their own otherwise. `on_rows` gets the number of rows
    that were read so far.

    Raises DataError that names file, line or row, and column of what is wrong. NaN is an error
    unless `allow_missing`, or `imputing` says what stands for it: medians are learnt in a pass
    before the others.
    """
    files = find_files(path)
    roles = table_roles(files, columns or Columns())
    plan = ScanPlan(
        roles.columns,
        max_rows,
        seed=seed,
        allow_missing=allow_missing,
        chunk_values=chunk_values,
        must_times_rise=roles.is_time_told,
        keeps_context=keeps_context,
    )
    scan = _TableScan(
        split_files(files, split_rows),
        plan,
        tasks,
        name=files[0].path if len(files) == 1 else str(path),
        fit_share=fit_share,
    )
    if making is not None:
        scan = replace(scan, plan=scan.plan_of(making))
        over_time = making.over_time
    else:
        scan = scan.learnt(() if keeps_words else roles.categories, imputing)
    scanned = scan.by_default(on_rows) if over_time is None else scan.run(over_time, on_rows)
    save_schema(_schema_to_keep(scanned.result, roles, scan.plan), roles.columns)
    return _dataset(scanned, files, roles, scan.plan)


class _Scanned(NamedTuple):
    """What was found in a table, with which transform, and what people should know of that."""

    result: ScanResult
    over_time: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _TableScan:
    """Passes over a table, of which `name` is its own; steps learn from the first `fit_share`."""

    splits: Sequence[FileSplit]
    plan: ScanPlan
    tasks: int
    name: str
    fit_share: float

    def learnt(
        self,
        declared: Sequence[DeclaredCategory],
        imputing: Imputing | None,
    ) -> _TableScan:
        """Return the scan with what is learnt of words and of missing values before it."""
        scan = self
        if declared:
            categories = learn_categories(self.splits, self.plan.columns, declared)
            scan = replace(self, plan=replace(self.plan, categories=categories))
        if imputing is not None:
            scan = replace(scan, plan=scan.imputing_plan(imputing))
        return scan

    def imputing_plan(self, imputing: Imputing) -> ScanPlan:
        """Return the plan of the passes that follow, with medians of the rows that are there."""
        plan = replace(
            self.plan,
            allow_missing=True,
            max_rows=min(self.plan.max_rows, _FITTING_ROWS),
        )
        rows = scan_table(self.splits, plan, tasks=self.tasks).sample.rows
        return replace(self.plan, imputation=imputing.learn(rows, self._sent_features))

    @property
    def _sent_features(self) -> int | None:
        """How many features callers send, where categories become several columns."""
        categories = self.plan.categories
        return None if categories is None else len(categories.names)

    def plan_of(self, making: RowMaking) -> ScanPlan:
        """Return the plan of a pass that makes rows as a model does: nothing is learnt for it.

        Raises DataError where the table has other features.
        """
        plan = self.plan
        if making.categories is not None:
            columns = replace(plan.columns, categories=making.categories.declared)
            plan = replace(plan, columns=columns, categories=making.categories)
        first = next(replace(self, plan=plan)._first_chunks(), None)
        if first is not None:
            making.check_names(first.names, self.name)
        fitted = None if making.transform is None else making.transform.fitted
        return replace(
            plan,
            steps=making.steps,
            fitted=fitted or FittedSteps(),
            imputation=making.imputation,
        )

    def run(
        self,
        over_time: str,
        on_rows: Callable[[int], None],
    ) -> _Scanned:
        """Return what the table holds, with the features of a transform."""
        plan = self.plan
        if over_time and not plan.steps:
            plan = self.fitted_plan(parse_steps(over_time))
        result = scan_table(
            self.splits,
            plan,
            tasks=self.tasks,
            on_rows=on_rows,
        )
        check_scanned(result, self.name, over_time)
        return _Scanned(result, over_time)

    def by_default(self, on_rows: Callable[[int], None]) -> _Scanned:
        """Return what the table holds, with the default transform where its order admits one."""
        over_time = self._default()
        remarks: tuple[str, ...] = ()
        if over_time:
            scanned = self._try(over_time, on_rows)
            if isinstance(scanned, _Scanned):
                return scanned
            remarks = scanned
        return self.run("", on_rows)._replace(remarks=remarks)

    def _try(
        self,
        over_time: str,
        on_rows: Callable[[int], None],
    ) -> _Scanned | tuple[str, ...]:
        """The table with the default transform, or what there is to say where it has none."""
        try:
            scanned = self.run(over_time, on_rows)
        except DataError:
            return ()  # too few rows look back so far; what else is wrong, a plain scan says too
        obstacle = why_not(scanned.result.time_order)
        if obstacle is None:
            return scanned._replace(remarks=(describe_default(over_time),))
        return (obstacle,) if obstacle else ()

    def _default(self) -> str:
        first = next(self._first_chunks(), None)
        return default_context(first, self.splits[0].file) if first is not None else ""

    def _first_chunks(self) -> Iterator[Table]:
        chunks = read_split(
            self.splits[0],
            self.plan.columns,
            allow_missing=True,
        )
        return map(self.plan.numeric, chunks)

    def fitted_plan(self, steps: tuple[Step, ...]) -> ScanPlan:
        """Return the plan of the last pass, with `steps` and what they have learnt."""
        fitted = fit_steps(steps, self._sample, self.plan.seed)
        return replace(self.plan, steps=steps, fitted=fitted)

    def _sample(self, steps: tuple[Step, ...], fitted: FittedSteps) -> Table:
        plan = replace(
            self.plan,
            steps=steps,
            fitted=fitted,
            max_rows=min(self.plan.max_rows, _FITTING_ROWS),
            keeps_context=True,
        )
        result = scan_table(self.splits, plan, tasks=self.tasks)
        check_scanned(result, self.name, _text(steps))
        rows = result.sample.rows
        if not rows.ordered:
            return rows
        return rows.take(slice(0, math.ceil(len(rows) * self.fit_share)))


def _text(steps: tuple[Step, ...]) -> str:
    return ",".join(map(str, steps))


def table_roles(files: Sequence[File], columns: Columns) -> TableRoles:
    """Return the roles of the columns, as said and as the first rows of the files show.

    Raises DataError for a column that is not there, has two roles, or has no name.
    """
    heads = ((read_head(file, columns), file) for file in files)
    first, file = next(heads)
    while first is not None and not len(first):
        first, file = next(heads, (None, file))
    if first is None:
        return TableRoles(clean_columns(columns))
    return recognise_roles(first, columns, file.path)


def _schema_to_keep(result: ScanResult, roles: TableRoles, plan: ScanPlan) -> Schema:
    """What is enforced from now on: times need not rise unless somebody said so."""
    columns = roles.columns
    words = plan.categories
    sent = result.sample.rows.sent if words is None else words.names
    return Schema(
        sent or result.raw_names,
        columns.label,
        columns.time if roles.is_time_told else None,
        columns.entity,
        categories=roles.categories,
    )


def _dataset(
    scanned: _Scanned,
    files: Sequence[File],
    roles: TableRoles,
    plan: ScanPlan,
) -> Dataset:
    result = scanned.result
    train = result.sample.rows
    recent = result.tail if train.ordered else train
    fingerprint = _fingerprint(result, files)
    return Dataset(
        train,
        result.test,
        recent,
        fingerprint=fingerprint,
        transform=result.transform,
        unused=roles.unused,
        context_columns=roles.context_columns,
        remarks=(
            *roles.remarks,
            *remarks_on_order(result, roles),
            *remarks_on_missing(result, plan),
            *remarks_on_words(result, plan),
            *scanned.remarks,
        ),
        imputation=plan.imputation,
        over_time=scanned.over_time,
        categories=plan.categories,
        unknown=result.unknown,
    )


def _fingerprint(result: ScanResult, files: Sequence[File]) -> Fingerprint:
    columns = {name: text_digest("".join(digests)) for name, digests in result.digests.items()}
    content = json.dumps([result.rows, *sorted(columns.items())])
    digest = text_digest(content)
    return Fingerprint(
        digest,
        result.rows,
        tuple(files),
        columns,
    )


def split_holdout(
    table: Table,
    holdout: float,
    seed: int,
) -> tuple[Table, Table]:
    """Return rows to fit on and rows held out.

    Held out is the share `holdout`: the latest rows where they are in time order, else random ones.
    """
    n = len(table)
    cut = n - max(1, round(n * holdout))
    if table.ordered:
        return table.take(slice(0, cut)), table.take(slice(cut, n))
    order = np.random.default_rng(seed).permutation(n)
    return table.take(order[:cut]), table.take(order[cut:])
