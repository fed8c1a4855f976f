"""Columns of a table by their role: inferred once, then enforced.

A table that has changed is noticed, and not learnt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from train.table.words import DeclaredCategory
from vigil.errors import DataError
from vigil.home import write_json
from vigil.json_types import is_list_of_texts


@dataclass(frozen=True)
class Columns:
    """What the caller says of the columns of a table.

    label: 1 marks an anomaly; time: strictly rising (per entity); entity: whose row it is;
    features: those to learn from (None: all that have no other role); schema: file of the Schema;
    ignore: those that are left out; categories: features that are declared to be words
    """

    label: str | None = None
    time: str | None = None
    entity: str | None = None
    features: tuple[str, ...] | None = None
    schema: str | None = None
    ignore: tuple[str, ...] = ()
    categories: tuple[DeclaredCategory, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """All columns that the caller speaks of."""
        roles = (self.label, self.time, self.entity)
        named = (*roles, *(self.features or ()), *self.ignore, *self._category_names)
        return tuple(name for name in named if name is not None)

    @property
    def _category_names(self) -> tuple[str, ...]:
        return tuple(category.name for category in self.categories)

    @property
    def as_text(self) -> tuple[str, ...]:
        """Columns that are text, whatever they look like."""
        entity = () if self.entity is None else (self.entity,)
        return (*entity, *self._category_names)


@dataclass(frozen=True)
class Schema:
    """Columns of a table: `features` in the model's order; the others have a role.

    Features are numbers, but those that are `categories`: these are words.
    """

    features: tuple[str, ...]
    label: str | None = None
    time: str | None = None
    entity: str | None = None
    categories: tuple[DeclaredCategory, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Features that are words, in the model's order."""
        names = [category.name for category in self.categories]
        return tuple(name for name in self.features if name in names)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Features that are numbers."""
        return tuple(name for name in self.features if name not in self.words)

    @property
    def roles(self) -> tuple[str, ...]:
        """Columns that are no features."""
        return tuple(name for name in (self.label, self.time, self.entity) if name is not None)

    @property
    def used(self) -> tuple[str, ...]:
        """All columns that are read."""
        return (*self.features, *self.roles)


def infer_schema(
    names: Sequence[str],
    columns: Columns,
    file: str,
) -> Schema:
    """Return the schema of a table with the columns `names`, held against the schema file.

    Raises DataError that names the column which is missing, has two roles, is there twice, or was
    not there before.
    """
    schema = _Inference(
        names,
        columns,
        file,
        read_schema_file(columns),
    ).schema()
    for name in schema.used:
        if list(names).count(name) > 1:
            raise DataError(
                f"{file}: two columns have the same name, {name!r}: rename one",
                field=name,
            )
    return schema


@dataclass(frozen=True)
class _Inference:
    """What a schema is inferred from: column names, the caller's word, and the saved schema."""

    names: Sequence[str]
    columns: Columns
    file: str
    saved: Schema | None

    def schema(self) -> Schema:
        roles = self._roles()
        self._check_present(roles)
        self._check_one_role(roles)
        features = self._features(roles)
        if self.saved is not None:
            features = self._enforced(self.saved, features)
        label = roles.label if roles.label in self.names else None
        return Schema(
            features,
            label,
            roles.time,
            roles.entity,
            categories=self._categories(features),
        )

    def _categories(self, features: tuple[str, ...]) -> tuple[DeclaredCategory, ...]:
        """The categories, in the order in which they were declared."""
        saved = self.saved.categories if self.saved else ()
        declared = self.columns.categories or saved
        for name, _ in declared:
            if name not in features:
                raise DataError(f"{self.file}: {_why_no_category(name, self.names)}", field=name)
        return declared

    def _roles(self) -> Schema:
        """The columns that are no features: as named by the caller, saved, or recognised."""
        columns = self.columns
        saved = self.saved or Schema(())
        label = columns.label or saved.label
        time = columns.time or saved.time
        entity = columns.entity or saved.entity
        return Schema(
            (),
            label,
            time,
            entity,
        )

    def _check_present(self, roles: Schema) -> None:
        for name in (*roles.roles, *(self.columns.features or ())):
            if name not in self.names and not self._may_be_absent(name):
                names = ", ".join(self.names)
                raise DataError(f"{self.file} has no column {name!r}; it has {names}", field=name)

    def _may_be_absent(self, name: str) -> bool:
        """A table without labels may follow one with them."""
        saved_label = self.saved is not None and name == self.saved.label
        return saved_label and self.columns.label is None

    def _check_one_role(self, roles: Schema) -> None:
        features = self.columns.features or ()
        for name in roles.roles:
            if name not in features and roles.roles.count(name) == 1:
                continue
            mistake = "has two parts"
            if name == roles.label:
                mistake = "is the label and among the features: the model would learn the answer"
            raise DataError(f"{self.file}: column {name!r} {mistake}", field=name)

    def _features(self, roles: Schema) -> tuple[str, ...]:
        if self.columns.features:
            return self.columns.features
        left_out = {*roles.roles, *self.columns.ignore}
        return tuple(name for name in self.names if name not in left_out)

    def _enforced(
        self,
        saved: Schema,
        features: tuple[str, ...],
    ) -> tuple[str, ...]:
        lacking = set(saved.features) - set(features)
        extra = set(features) - set(saved.features)
        if lacking or extra:
            raise DataError(
                f"{self.file} is not of the schema {self.columns.schema}: "
                f"it {_difference(lacking, extra)}. Mend the table, choose --columns, "
                "or remove the schema file to train another detector",
                field=min(lacking or extra),
            )
        return saved.features


def _why_no_category(name: str, names: Sequence[str]) -> str:
    if name in names:
        return (
            f"column {name!r} is declared a category and has another role: take one away "
            "(--categories, or --label, --time, --entity, --ignore, --columns)"
        )
    return f"there is no column {name!r} to take as a category; it has {', '.join(names)}"


def _difference(lacking: set[str], extra: set[str]) -> str:
    differences: list[str] = []
    if lacking:
        differences.append(f"lacks {', '.join(sorted(lacking))}")
    if extra:
        differences.append(f"has {', '.join(sorted(extra))} beside it")
    return " and ".join(differences)


def read_schema_file(columns: Columns) -> Schema | None:
    """Return the schema that is to be enforced, if there is one."""
    if columns.schema is None or not Path(columns.schema).exists():
        return None
    try:
        return _parse_schema(json.loads(Path(columns.schema).read_text()))
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise DataError(f"the schema file {columns.schema} cannot be read: {error}") from error


def _parse_schema(document: dict[str, Any]) -> Schema:
    features = document["features"]
    if not is_list_of_texts(features):
        raise TypeError("`features` must be a list of names")
    return Schema(
        **{
            **document,
            "features": tuple(features),
            "categories": tuple(DeclaredCategory(*each) for each in document.get("categories", ())),
        }
    )


def _schema_values(schema: Schema) -> dict[str, Any]:
    """What is written; an older Vigil reads it where there are no categories."""
    values = asdict(schema)
    if not schema.categories:
        del values["categories"]
    return values


def save_schema(schema: Schema, columns: Columns) -> None:
    """Write the schema file, where one is wanted and there is none yet."""
    if columns.schema is None or Path(columns.schema).exists():
        return
    try:
        write_json(Path(columns.schema), _schema_values(schema))
    except OSError as error:
        raise DataError(f"the schema file {columns.schema} cannot be written: {error}") from error
