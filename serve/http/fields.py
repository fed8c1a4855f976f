"""Fields that answers of several protocols share, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from train.model.reasons import Reason

PredictedLabel = Annotated[
    Literal[1, -1],
    msgspec.Meta(
        description="scikit-learn's label: -1 is an anomaly",
        extra_json_schema={"type": "integer"},
    ),
]
Score = Annotated[
    float,
    msgspec.Meta(
        ge=0,
        le=1,
        description="s(x) of Liu et al. in (0, 1], higher is more anomalous",
    ),
]
Reasons = Annotated[
    list[Reason],
    msgspec.Meta(
        description="for an anomaly the features that say most, by share times size of z; "
        "else nothing"
    ),
]
AlertThreshold = Annotated[
    float, msgspec.Meta(description="rows with a score above it are anomalies")
]
ModelDigest = Annotated[str, msgspec.Meta(description="sha256 of the model bundle")]
SchemaHash = Annotated[str, msgspec.Meta(description="sha256 of the feature names in order")]
DriftScore = Annotated[
    float, msgspec.Meta(description="severity of the last drift window; above 1 is drift")
]
Warming = Annotated[
    bool,
    msgspec.Meta(
        description="whether the row lacks earlier rows of its entity that the model needs: it "
        "has a score, and alerts nobody; said where it is true of a row"
    ),
]
RequestId = Annotated[str, msgspec.Meta(description="the header X-Request-Id, or a new one")]
