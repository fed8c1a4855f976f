"""What the columns of a table are: inferred once, then enforced, so that a table that has changed is noticed and not learnt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vigil.errors import DataError
from vigil.home import write_json

LABEL_COLUMNS = (
    "label",
    "is_anomaly",
    "y",
)  # recognised in CSV and Parquet when no label column is named


@dataclass(frozen=True)
class Columns:
    """What the caller says of a table's columns. features: those to learn from (None: all that have no other part);
    label: 1 marks an anomaly; time: strictly rising (per entity); entity: whose row it is; schema: file of the Schema."""

    label: str | None = None
    time: str | None = None
    entity: str | None = None
    features: tuple[str, ...] | None = None
    schema: str | None = None


@dataclass(frozen=True)
class Schema:
    """The columns of a table: `features` are numbers and in the model's order; the others have their part or are None."""

    features: tuple[str, ...]
    label: str | None = None
    time: str | None = None
    entity: str | None = None

    @property
    def used(self) -> tuple[str, ...]:
        return (
            *self.features,
            *(name for name in (self.label, self.time, self.entity) if name is not None),
        )


def infer(names: Sequence[str], columns: Columns, file: str) -> Schema:
    """The schema of a table with the columns `names`, held against the schema file where there is one.

    Raises DataError that names the column which is missing, has two parts, or was not there before.
    """
    if len(set(names)) != len(names):
        raise DataError(f"{file}: two columns have the same name")
    saved = _saved(columns)
    label = columns.label or (
        saved.label if saved else next((n for n in LABEL_COLUMNS if n in names), None)
    )
    time, entity = (
        columns.time or (saved.time if saved else None),
        columns.entity or (saved.entity if saved else None),
    )
    parts = [name for name in (label, time, entity) if name is not None]
    for name in (*parts, *(columns.features or ())):
        if name not in names:
            if saved and name == saved.label and columns.label is None:
                continue  # a table without labels may follow one with them
            raise DataError(f"{file} has no column {name!r}; it has {', '.join(names)}", field=name)
    label = label if label in names else None
    twice = [name for name in parts if parts.count(name) > 1 or name in (columns.features or ())]
    if twice:
        leak = (
            "is the label and among the features: the model would learn the answer"
            if twice[0] == label
            else "has two parts"
        )
        raise DataError(f"{file}: column {twice[0]!r} {leak}", field=twice[0])
    features = columns.features or tuple(name for name in names if name not in parts)
    if "" in features:
        what = "if it holds the row numbers that pandas writes, use to_csv(index=False), or choose --columns"
        raise DataError(f"{file}: column {list(names).index('') + 1} has no name; {what}")
    if saved:
        features = _enforce(saved, features, file, columns)
    return Schema(tuple(features), label, time, entity)


def _enforce(
    saved: Schema, features: tuple[str, ...], file: str, columns: Columns
) -> tuple[str, ...]:
    lacks, extra = set(saved.features) - set(features), set(features) - set(saved.features)
    if lacks or extra:
        told = " and ".join(
            [f"lacks {', '.join(sorted(lacks))}"] * bool(lacks)
            + [f"has {', '.join(sorted(extra))} beside it"] * bool(extra)
        )
        raise DataError(
            f"{file} is not of the schema {columns.schema}: it {told}. Mend the table, choose --columns, or remove the schema "
            "file to train another detector",
            field=min(lacks or extra),
        )
    return saved.features


def _saved(columns: Columns) -> Schema | None:
    if columns.schema is None or not Path(columns.schema).exists():
        return None
    try:
        found = json.loads(Path(columns.schema).read_text())
        features = found["features"]
        if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
            raise TypeError("`features` must be a list of names")
        return Schema(**{**found, "features": tuple(features)})
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise DataError(f"the schema file {columns.schema} cannot be read: {error}") from error


def keep(schema: Schema, columns: Columns) -> None:
    """Write the schema file, where one is asked for and there is none yet."""
    if columns.schema is not None and not Path(columns.schema).exists():
        try:
            write_json(Path(columns.schema), asdict(schema))
        except OSError as error:
            raise DataError(
                f"the schema file {columns.schema} cannot be written: {error}"
            ) from error
