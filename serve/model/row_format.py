"""Rows that a model takes from callers, and what makes its own rows of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from train.table.categories import CategoryCodec, read_categories
from train.table.impute import Imputation, read_imputation
from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.plain_values import (
    transform_from_values,
    transform_key,
    transform_values,
    values_key,
)
from vigil.errors import InvalidFeatures
from vigil.json_types import JsonObject

if TYPE_CHECKING:  # a stream consumer needs no model
    from train.model.bundle import ModelBundle

TIME_IS_NEEDED = "the model needs the time of each row: send `time`"


@dataclass(frozen=True, slots=True)
class MadeRows:
    """How rows of the model were made of raw ones: by the transform of this key.

    is_warming: they lack earlier rows that they need
    """

    key: str
    is_warming: bool = False


@dataclass(frozen=True)
class RowFormat:
    """Raw features `names` of a row, and the transform of the model, where it has one.

    imputation: what stands for raw values that are missing, where some may be
    categories: makes the raw features of what callers send, where some of that are words
    key: names the transform; rows that were made under one key are of no use under another
    unused: columns of the table that it was trained on that may be sent, and are left out
    """

    names: tuple[str, ...]
    transform: FeatureTransform | None = field(default=None, compare=False)
    key: str = ""
    imputation: Imputation | None = field(default=None, compare=False)
    unused: frozenset[str] = frozenset()
    categories: CategoryCodec | None = field(default=None, compare=False)

    @classmethod
    def of(cls, bundle: ModelBundle) -> RowFormat:
        """Return the format of the model's rows."""
        transform = bundle.transform
        return cls(
            bundle.raw_names,
            transform,
            _key(transform_key(transform), bundle.categories),
            bundle.imputation,
            bundle.unused_columns,
            categories=bundle.categories,
        )

    @property
    def sent_names(self) -> tuple[str, ...]:
        """Features as callers send them, in their order."""
        return self.names if self.categories is None else self.categories.names

    @cached_property
    def made_by(self) -> str:
        """What names how raw rows are made of those that are sent, and the model's of these."""
        if self.key or self.categories is None:
            return self.key
        return values_key(self.categories.to_json())

    def takes_rows_of(self, other: RowFormat) -> bool:
        """Whether raw rows that are made for another model fit this one."""
        return self.categories == other.categories

    @property
    def needs_context(self) -> bool:
        """Whether a row is made in the light of earlier ones."""
        transform = self.transform
        return transform is not None and (transform.length > 0 or transform.carried_width > 0)

    @property
    def needs_time(self) -> bool:
        """Whether no row can be made without its time."""
        return self.transform is not None and self.transform.needs_time

    @property
    def model_names(self) -> tuple[str, ...]:
        """Features of the rows that are scored."""
        return self.names if self.transform is None else self.transform.outputs

    def require_made_by(self, key: str) -> None:
        """Raise InvalidFeatures for rows that were made for another transform than the model's."""
        if key != self.made_by:
            raise InvalidFeatures(
                "the rows were made for another transform than that of the model: ask again which "
                "it is (/readyz)"
            )

    def to_wire(self) -> JsonObject:
        """Return it as plain values."""
        transform = self.transform
        categories = self.categories
        return {
            "features": self.sent_names,
            "transform": None if transform is None else transform_values(transform),
            "impute": None if self.imputation is None else self.imputation.to_json(),
            "unused_columns": sorted(self.unused),
            "categories": None if categories is None else categories.to_json(),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> RowFormat:
        """Return what `to_wire` gave; a service of an older Vigil says nothing of a transform."""
        categories = read_categories(wire.get("categories"))
        names = tuple(wire["features"]) if categories is None else categories.outputs
        values = wire.get("transform")
        imputation = read_imputation(wire.get("impute"), names)
        unused = frozenset(wire.get("unused_columns", ()))
        return cls(
            names,
            None if values is None else transform_from_values(values),
            _key("" if values is None else values_key(values), categories),
            imputation,
            unused,
            categories=categories,
        )


def _key(transform: str, categories: CategoryCodec | None) -> str:
    """The key of rows that a transform makes: of other words it makes others."""
    if not transform or categories is None:
        return transform
    return values_key({"transform": transform, "categories": categories.to_json()})
