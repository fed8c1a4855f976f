"""How a model makes its rows of raw ones, with what it has learnt for that.

Rows that were captured live are as the champion made them. What is trained on beside them, and the
model that comes of it, must make rows by the same function: steps that learn anew make others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from train.table.categories import CategoryCodec
from train.table.impute import Imputation
from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.grammar import Step, parse_steps
from train.table.transform.plain_values import transform_key
from vigil.errors import DataError
from vigil.naming import name_differing

if TYPE_CHECKING:  # reading a table needs no model
    from train.model.bundle import ModelBundle


@dataclass(frozen=True)
class RowMaking:
    """The transform of rows with the raw features `names`, and what stands for missing values.

    categories: what makes numbers of words first, where there are any
    """

    names: tuple[str, ...]
    transform: FeatureTransform | None = None
    imputation: Imputation | None = None
    categories: CategoryCodec | None = None

    @classmethod
    def of(cls, bundle: ModelBundle) -> Self:
        """Return how a model makes its rows."""
        return cls(
            bundle.raw_names,
            bundle.transform,
            bundle.imputation,
            categories=bundle.categories,
        )

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those of the transform, if there is one."""
        return () if self.transform is None else self.transform.steps

    @property
    def over_time(self) -> str:
        """The transform as it is written."""
        return ",".join(map(str, self.steps))

    @property
    def key(self) -> str:
        """What names the transform and all that it has learnt."""
        return transform_key(self.transform)

    def has_steps_of(self, over_time: str) -> bool:
        """Whether it is by the steps that are written so."""
        return self.steps == (parse_steps(over_time) if over_time else ())

    def check_names(self, names: tuple[str, ...], table: str) -> None:
        """Raise DataError for a table that has other features."""
        if names != self.names:
            differing = name_differing(names, self.names) or "their order"
            raise DataError(
                f"{table} has not the features of the model that made the captured rows: they "
                f"differ in {differing}"
            )
