"""The bodies of `/predict`, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any

PREDICT_REQUEST: dict[str, Any] = {
    "oneOf": [
        {
            "title": "One row",
            "type": "object",
            "required": ["features"],
            "properties": {
                "features": {
                    "oneOf": [
                        {"type": "array", "items": {"type": "number"}, "description": "values in the model's order"},
                        {"type": "object", "additionalProperties": {"type": "number"}, "description": "value by feature name"},
                    ]
                }
            },
        },
        {
            "title": "Many rows",
            "type": "object",
            "required": ["instances"],
            "properties": {"instances": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}},
        },
    ]
}

_REASON = {
    "type": "object",
    "properties": {
        "feature": {"type": "string"},
        "share": {"type": "number", "description": "share of the path-length deficit that this feature explains"},
        "value": {"type": "number"},
        "z": {"type": "number", "description": "robust z: (value - median) / spread of the training window"},
    },
}

_COMMON: dict[str, Any] = {
    "threshold": {"type": "number", "description": "rows with a score above it are anomalies"},
    "drift_score": {"type": "number", "description": "severity of the last drift window; above 1 is drift"},
    "model_version": {"type": "string"},
    "model_digest": {"type": "string"},
    "request_id": {"type": "string", "description": "the header X-Request-Id, or a new one"},
}

PREDICT_RESPONSE: dict[str, Any] = {
    "description": "One row gives values, many rows give columns of the same names.",
    "type": "object",
    "properties": {
        "prediction": {"type": "integer", "enum": [1, -1], "description": "scikit-learn's label: -1 is an anomaly"},
        "is_anomaly": {"type": "boolean"},
        "anomaly_score": {"type": "number", "description": "s(x) of Liu et al. in (0, 1], higher is more anomalous"},
        "reasons": {"type": "array", "items": _REASON, "description": "for anomalies: features by share times size of z"},
        **_COMMON,
    },
}

ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "field": {"type": "string"},
                "row": {"type": "integer"},
            },
        }
    },
}

PREDICT_OPERATION: dict[str, Any] = {
    "summary": "Score one row or many",
    "requestBody": {"required": True, "content": {"application/json": {"schema": PREDICT_REQUEST}}},
    "responses": {
        "200": {"description": "Scored", "content": {"application/json": {"schema": PREDICT_RESPONSE}}},
        **{
            status: {"description": meaning, "content": {"application/json": {"schema": ERROR}}}
            for status, meaning in {
                "400": "The body is not JSON of the documented form",
                "413": "The body or the number of rows is over the limit",
                "422": "A row does not fit the model: the answer names the feature and the row",
                "503": "No model is loaded yet, or the service is overloaded",
            }.items()
        },
    },
}
