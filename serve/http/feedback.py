"""Bodies for the drift monitor: labels of scored rows, and the governor's mode. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from serve.http.rows import decode_body
from vigil.errors import BodyTooLarge

_FEEDBACK_HINT = 'send {"labels": [{"request_id": "..", "anomaly": true | false, "row": 0}, ..]}'
_MODE_HINT = 'send {"mode": "observe" | "suggest" | "auto" | null}'


class RowLabel(msgspec.Struct, forbid_unknown_fields=True):
    """Whether a row was an anomaly."""

    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    anomaly: bool
    row: Annotated[int, msgspec.Meta(ge=0)] = 0


class FeedbackBody(msgspec.Struct, forbid_unknown_fields=True):
    """Labels that people give to scored rows."""

    labels: Annotated[list[RowLabel], msgspec.Meta(min_length=1)]


class ModeBody(msgspec.Struct, forbid_unknown_fields=True):
    """The governor's mode; null is that of the settings."""

    mode: Literal["observe", "suggest", "auto"] | None


def decode_mode(body: bytes) -> str | None:
    """Return the mode of a `/drift/mode` body; raises MalformedRequest."""
    return decode_body(body, ModeBody, _MODE_HINT).mode


def decode_feedback(body: bytes, max_labels: int) -> list[tuple[str, bool, int]]:
    """Return request id, label and row of each label; raises MalformedRequest or BodyTooLarge."""
    labels = decode_body(body, FeedbackBody, _FEEDBACK_HINT).labels
    if len(labels) > max_labels:
        raise BodyTooLarge(
            f"{len(labels)} labels in one request, the limit is {max_labels}: send several requests"
        )
    return [(label.request_id, label.anomaly, label.row) for label in labels]
