"""Rows that a model takes from callers, and what makes its own rows of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    key: names the transform; rows that were made under one key are of no use under another
    unused: columns of the table that it was trained on that may be sent, and are left out
    """

    names: tuple[str, ...]
    transform: FeatureTransform | None = field(default=None, compare=False)
    key: str = ""
    imputation: Imputation | None = field(default=None, compare=False)
    unused: frozenset[str] = frozenset()

    @classmethod
    def of(cls, bundle: ModelBundle) -> RowFormat:
        """Return the format of the model's rows."""
        transform = bundle.transform
        unused = bundle.unused_columns
        if transform is None:
            return cls(bundle.names, imputation=bundle.imputation, unused=unused)
        return cls(
            transform.names,
            transform,
            transform_key(transform),
            bundle.imputation,
            unused,
        )

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
        if key != self.key:
            raise InvalidFeatures(
                "the rows were made for another transform than that of the model: ask again which "
                "it is (/readyz)"
            )

    def to_wire(self) -> JsonObject:
        """Return it as plain values."""
        transform = self.transform
        return {
            "features": self.names,
            "transform": None if transform is None else transform_values(transform),
            "impute": None if self.imputation is None else self.imputation.to_json(),
            "unused_columns": sorted(self.unused),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> RowFormat:
        """Return what `to_wire` gave; a service of an older Vigil says nothing of a transform."""
        names = tuple(wire["features"])
        values = wire.get("transform")
        imputation = read_imputation(wire.get("impute"), names)
        unused = frozenset(wire.get("unused_columns", ()))
        if values is None:
            return cls(names, imputation=imputation, unused=unused)
        return cls(
            names,
            transform_from_values(values),
            values_key(values),
            imputation,
            unused,
        )
