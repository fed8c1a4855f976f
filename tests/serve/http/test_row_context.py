"""Whose rows a request brings, and when they were measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serve.http.predict import decode_predict
from serve.model.report import RowContext
from vigil.errors import InvalidFeatures, MalformedRequest

NAMES = ("cpu", "net")
ROW = [1.0, 2.0]
TEN_MS = 1_795_946_400_000


def context(body: Any) -> RowContext | None:
    return decode_predict(json.dumps(body).encode(), NAMES, 9).context


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"features": ROW}, None),
        ({"features": ROW, "entity": None}, None),
        ({"features": ROW, "entity": "host-1"}, RowContext(["host-1"])),
        ({"features": ROW, "entity": 7}, RowContext(["7"])),
        ({"features": ROW, "time": TEN_MS}, RowContext(None, [TEN_MS / 1000])),
        # Without a zone it is of UTC.
        ({"features": ROW, "time": "2026-11-29T10:00:00"}, RowContext(None, [TEN_MS / 1000])),
        ({"features": ROW, "time": "2026-11-29T12:00+02:00"}, RowContext(None, [TEN_MS / 1000])),
        ({"instances": [ROW, ROW], "entity": "a"}, RowContext(["a", "a"])),
        ({"instances": [ROW, ROW], "entities": ["a", "b"]}, RowContext(["a", "b"])),
        (
            {"instances": [ROW, ROW], "times": [TEN_MS, "2026-11-29T10:00:00Z"]},
            RowContext(None, [TEN_MS / 1000] * 2),
        ),
        ({"history": [ROW, ROW], "entity": "a:b"}, RowContext(["a:b"])),
    ],
)
def test_each_row_has_its_entity_and_time(body: Any, expected: RowContext | None) -> None:
    assert context(body) == expected


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"entity": ""}, InvalidFeatures, "row 0, `entity`"),
        ({"entity": " "}, InvalidFeatures, "`entity`"),
        ({"entity": True}, InvalidFeatures, "`entity`"),
        ({"entity": "x" * 201}, InvalidFeatures, "1 to 200"),
        ({"entity": ["a", "b"]}, InvalidFeatures, "`entity`"),
        ({"entity": {"$ne": None}}, InvalidFeatures, "`entity`"),
        ({"entity": "\ud800"}, InvalidFeatures, "`entity`"),
        ({"entities": ["a"]}, MalformedRequest, "an entry for each row"),
        ({"entities": "ab"}, MalformedRequest, "an entry for each row"),
        ({"entities": ["a", ""]}, InvalidFeatures, "row 1, `entity`"),
        ({"entity": "a", "entities": ["a", "b"]}, MalformedRequest, "not both"),
        ({"time": "soon"}, InvalidFeatures, "'soon' is not a time"),
        ({"times": [1, None]}, InvalidFeatures, "row 1, `time`"),
        ({"time": 1e300}, InvalidFeatures, "`time`"),
    ],
)
def test_what_is_no_entity_or_time_is_refused(
    fields: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        context({"instances": [ROW, ROW], **fields})


def test_a_name_that_is_there_twice_is_refused_beside_times_with_colons() -> None:
    body = (
        b'{"features": {"cpu": 1, "net": 2, "cpu": 3}, "time": "2026-11-29T10:00:00Z",'
        b' "entity": "a"}'
    )
    with pytest.raises(MalformedRequest, match="twice"):
        decode_predict(body, NAMES, 9)
