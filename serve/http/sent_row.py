"""A row as callers send it: what its values may be, and an example, for the OpenAPI document.

Which values a feature may have is for the model to say: see train/table/categories.py and
train/table/impute.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from serve.http.context_columns import ContextColumns
from vigil.json_types import JsonObject

if TYPE_CHECKING:
    from serve.model.loaded import LoadedModel
    from serve.model.row_format import RowFormat

_VALUE = "FeatureValue"
_NUMBER = "FeatureNumber"
_EXAMPLE_TIME = "2026-11-29T10:00:00Z"
_NUMBERS = ("number", "boolean")


def _described_by(name: str) -> msgspec.Meta:
    """A float to the decoder, and to the document what the schema of this name says.

    The first attempt to decode a body knows numbers alone, as nearly all values are.
    """
    return msgspec.Meta(extra_json_schema={"$ref": f"#/components/schemas/{name}"})


FeatureValue = Annotated[float, _described_by(_VALUE)]
FeatureNumber = Annotated[float, _described_by(_NUMBER)]  # where words have a place of their own


@dataclass(frozen=True)
class SentRow:
    """A row that a model takes.

    example: a value of each feature by its name, in order
    words: features that are categories
    may_miss: whether values may be missing
    has_others: whether columns that are no features may be sent
    time: an example, where no row is scored without; time_column: its name in a table
    """

    example: Mapping[str, float | str]
    words: tuple[str, ...] = ()
    may_miss: bool = True
    has_others: bool = True
    time: str | None = None
    time_column: str | None = None

    @classmethod
    def of(cls, model: LoadedModel) -> SentRow:
        """Return the row of a model; its example is the median one of the training data.

        A feature that the model knows as a distance from its level alone is 0; a category is its
        most frequent word.
        """
        row_format = model.row_format
        return cls(
            _example_row(model),
            _words(row_format),
            may_miss=row_format.imputation is not None,
            has_others=bool(row_format.unused),
            time=_EXAMPLE_TIME if row_format.needs_time else None,
            time_column=ContextColumns.of(model.bundle).time,
        )

    @property
    def times(self) -> JsonObject:
        """What a body must say of the time, if anything."""
        return {} if self.time is None else {"time": self.time}

    @property
    def in_table(self) -> dict[str, float | str]:
        """The example as a table has it, with its time where one is needed."""
        if self.time is None or self.time_column is None:
            return dict(self.example)
        return {**self.example, self.time_column: self.time}

    @property
    def tensors(self) -> list[JsonObject]:
        """The example as inputs of the Open Inference Protocol."""
        numbers = _tensor("features", "FP64", self._values_of(is_word=False))
        return [numbers, *self._word_tensors(), *self._time_tensors()]

    def _values_of(self, *, is_word: bool) -> list[float | str]:
        """Values of the features that are words, or of those that are not."""
        return [value for name, value in self.example.items() if (name in self.words) is is_word]

    def _word_tensors(self) -> list[JsonObject]:
        if not self.words:
            return []
        return [_tensor("categories", "BYTES", self._values_of(is_word=True))]

    def _time_tensors(self) -> list[JsonObject]:
        if self.time is None:
            return []
        return [{"name": "time", "datatype": "BYTES", "shape": [1], "data": [self.time]}]

    def schemas(self) -> JsonObject:
        """Return what values may be, by the names under which types refer to it."""
        number = _schema_of(_NUMBERS, "a number; true is 1, and false 0")
        if self.may_miss:
            number = _widened(number, "null", "null where it is missing")
        return {_NUMBER: number, _VALUE: self._with_text(number)}

    def _with_text(self, number: JsonObject) -> JsonObject:
        if not self.words and not self.has_others:
            return number
        said = "text in a category, and in columns that are no features"
        return _widened(number, "string", said)


def _schema_of(types: Sequence[str], description: str) -> JsonObject:
    return {"type": list(types), "description": description}


def _widened(
    schema: JsonObject,
    kind: str,
    said: str,
) -> JsonObject:
    """The schema that takes values of another kind too."""
    types = [*schema["type"], kind]
    description = f"{schema['description']}; {said}"
    return _schema_of(types, description)


def _example_row(model: LoadedModel) -> dict[str, float | str]:
    """A value of each feature that is sent, in order."""
    known = _medians(model)
    numbers = {name: known.get(name, 0.0) for name in model.row_format.sent_names}
    return {**numbers, **_most_frequent(model.row_format)}


def _medians(model: LoadedModel) -> dict[str, float]:
    """Of each feature of the model, rounded."""
    values = np.round(model.bundle.reference.median, 3)
    return dict(zip(model.bundle.names, values.tolist(), strict=True))


def _most_frequent(row_format: RowFormat) -> dict[str, str]:
    categories = row_format.categories
    return {} if categories is None else categories.most_frequent


def _words(row_format: RowFormat) -> tuple[str, ...]:
    categories = row_format.categories
    return () if categories is None else categories.words


def _tensor(name: str, datatype: str, values: list[float | str]) -> JsonObject:
    """An input of one row."""
    return {"name": name, "datatype": datatype, "shape": [1, len(values)], "data": values}


# What is said while no model is loaded.
ANY_ROW = SentRow({"cpu": 0.31, "latency": 7.2, "queue": 41.0})
