"""The OpenAPI document: every path, what it takes and answers, with examples. The handlers read bodies without it, for speed;
a test holds the two together."""

from __future__ import annotations

import copy
import importlib.metadata
from typing import Any

from serve.settings import ServeSettings

Json = dict[str, Any]
NUMBER: Json = {"type": "number"}
TEXT: Json = {"type": "string"}
ROW: Json = {"type": "array", "items": NUMBER, "minItems": 1}
NAMED_ROW: Json = {"type": "object", "additionalProperties": NUMBER, "minProperties": 1}
ROWS: Json = {"type": "array", "items": {"oneOf": [ROW, NAMED_ROW]}, "minItems": 1}
EXAMPLE_ROW = {"cpu": 0.31, "latency": 7.2, "queue": 41.0}


def _object(properties: Json, required: list[str] | None = None, **more: Any) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        **more,
    }


def _list(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


PREDICTION: Json = {
    "type": "integer",
    "enum": [1, -1],
    "description": "scikit-learn's label: -1 is an anomaly",
}
SCORE: Json = {
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "description": "s(x) of Liu et al. in (0, 1], higher is more anomalous",
}
REASONS = _list(
    _object(
        {
            "feature": TEXT,
            "share": {
                **NUMBER,
                "description": "share of the path-length deficit that this feature explains",
            },
            "value": NUMBER,
            "z": {
                **NUMBER,
                "description": "robust z: (value - median) / spread of the training window",
            },
        }
    ),
    description="for an anomaly the features that say most, by share times size of z; else nothing",
)
MODEL: Json = {
    "threshold": {**NUMBER, "description": "rows with a score above it are anomalies"},
    "model_digest": {**TEXT, "description": "sha256 of the model bundle"},
    "schema_hash": {**TEXT, "description": "sha256 of the feature names in order"},
}
COMMON: Json = {
    **MODEL,
    "drift_score": {**NUMBER, "description": "severity of the last drift window; above 1 is drift"},
    "model_version": TEXT,
    "request_id": {**TEXT, "description": "the header X-Request-Id, or a new one"},
}
SINGLE: Json = {
    "prediction": PREDICTION,
    "is_anomaly": {"type": "boolean"},
    "anomaly_score": SCORE,
    "reasons": REASONS,
}
COLUMNS: Json = {name: _list(schema) for name, schema in SINGLE.items()}
PREDICT: Json = {
    "oneOf": [
        _object(
            {"features": {"oneOf": [ROW, NAMED_ROW]}},
            title="One row: values in the model's order, or by name",
        ),
        _object({"instances": ROWS}, title="Many rows"),
        _object(
            {"history": ROWS},
            title="The rows of one entity, oldest first: the last is scored in the light of the others",
        ),
    ]
}
SPLIT = _object(
    {"columns": _list(TEXT, uniqueItems=True), "data": _list(ROW, minItems=1)}, ["data"]
)
INVOCATIONS: Json = {
    "oneOf": [
        _object({"dataframe_split": SPLIT}),
        _object({"dataframe_records": _list(NAMED_ROW, minItems=1)}),
        _object({"instances": ROWS}),
        _object(
            {
                "inputs": {
                    "oneOf": [
                        ROWS,
                        {"type": "object", "additionalProperties": ROW, "minProperties": 1},
                    ]
                }
            }
        ),
    ]
}
PARAMETERS: Json = {"type": "object", "additionalProperties": True}
OUTPUT: Json = {"type": "string", "enum": ["anomaly_score", "prediction", "reasons"]}
TENSOR = _object(
    {
        "name": {"type": "string", "enum": ["features"]},
        "datatype": {"type": "string", "enum": ["FP32", "FP64"]},
        "shape": _list({"type": "integer", "minimum": 1}, minItems=2, maxItems=2),
        "data": _list({"oneOf": [NUMBER, _list(NUMBER)]}),
        "parameters": PARAMETERS,
    },
    ["name", "datatype", "shape"],
)
INFER = _object(
    {
        "id": TEXT,
        "inputs": _list(TENSOR, minItems=1, maxItems=1),
        "outputs": _list(_object({"name": OUTPUT, "parameters": PARAMETERS}, ["name"])),
        "parameters": PARAMETERS,
    },
    ["inputs"],
)
OUTPUT_TENSOR: Json = {
    "name": OUTPUT,
    "datatype": TEXT,
    "shape": _list({"type": "integer"}),
    "data": _list({}),
    "parameters": PARAMETERS,
}
INFERRED = _object(
    {
        "model_name": TEXT,
        "model_version": TEXT,
        "id": TEXT,
        "parameters": _object(MODEL),
        "outputs": _list(_object(OUTPUT_TENSOR, ["name", "datatype", "shape"])),
    }
)
LABEL = _object(
    {
        "request_id": {"type": "string", "minLength": 1, "maxLength": 128},
        "anomaly": {"type": "boolean"},
        "row": {"type": "integer", "minimum": 0},
    },
    ["request_id", "anomaly"],
)
FEEDBACK = _object({"labels": _list(LABEL, minItems=1)}, ["labels"]) | {
    "examples": [
        {
            "labels": [
                {"request_id": "3f0c", "anomaly": True},
                {"request_id": "9a1e", "anomaly": False, "row": 2},
            ]
        }
    ]
}
REASON: Json = {"type": "string", "maxLength": 500, "description": "kept in the ledger"}
FORCE = {"type": "boolean", "description": "also a version that failed its gate"}
VERSION = {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}
PROMOTE = _object({"version": VERSION, "reason": REASON, "force": FORCE}, ["version"]) | {
    "examples": [{"version": "3", "reason": "fewer false alarms in the shadow"}]
}
ROLLBACK = _object({"reason": REASON}, []) | {
    "examples": [{"reason": "version 3 alerts on every backup"}]
}
MODE = _object({"mode": {"enum": ["observe", "suggest", "auto", None]}}, ["mode"]) | {
    "examples": [{"mode": "observe"}]
}
ERRORS: dict[str, Json] = {
    "vigil": _object(
        {
            "error": _object(
                {"type": TEXT, "message": TEXT, "field": TEXT, "row": {"type": "integer"}},
                ["type", "message"],
            )
        }
    ),
    "mlflow": _object({"error_code": TEXT, "message": TEXT}),
    "v2": _object({"error": TEXT}),
}
STATUSES = {
    "400": "The body is not of the documented form",
    "401": "The caller showed no key, or one that is not accepted",
    "403": "The caller is not an operator, or a page of another site asks",
    "404": "There is no such model or version",
    "408": "The client did not send its body in time",
    "409": "The registry refuses the move, or another monitor holds the state",
    "413": "The body or the number of rows is over the limit",
    "415": "The body is of a kind that this path does not read",
    "422": "A row does not fit the model: the answer names the feature and the row",
    "429": "The service is overloaded: try again after Retry-After",
    "431": "The headers are over the limit",
    "500": "A fault of the service",
    "503": "No model is loaded yet, or the service is overloaded: try again after Retry-After",
}
MODEL_HEADERS: Json = {
    name: {"schema": TEXT}
    for name in (
        "X-Vigil-Model-Version",
        "X-Vigil-Model-Digest",
        "X-Vigil-Threshold",
        "X-Vigil-Schema-Hash",
        "X-Request-Id",
    )
}


def openapi_document(settings: ServeSettings, row: dict[str, float] = EXAMPLE_ROW) -> Json:
    """The OpenAPI 3.1 document of the service. `row` (value by feature name) is what its examples are made of."""
    names, values = list(row), list(row.values())
    tensor = {"name": "features", "datatype": "FP64", "shape": [1, len(row)], "data": values}
    examples: dict[str, Json] = {
        "predict": {
            "one row": {"features": values},
            "by name": {"features": row},
            "many rows": {"instances": [values, values]},
        },
        "invocations": {
            "dataframe_split": {"dataframe_split": {"columns": names, "data": [values]}},
            "dataframe_records": {"dataframe_records": [row]},
            "instances": {"instances": [values]},
            "inputs": {"inputs": {name: [value] for name, value in row.items()}},
        },
        "infer": {
            "one row": {"inputs": [tensor]},
            "with reasons": {"inputs": [tensor], "outputs": [{"name": "reasons"}]},
        },
    }
    predict = {
        "oneOf": [
            _object(SINGLE | COMMON, title="One row"),
            _object(COLUMNS | COMMON, title="Many rows: columns"),
        ]
    }
    scored = {name: schema for name, schema in SINGLE.items() if name != "reasons"}
    mlflow = _object({"predictions": _list(_object(scored)), **MODEL, "model_version": TEXT})
    name, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    paths: Json = {
        "/predict": {
            "post": _scoring(
                "Score one row or many", "vigil", PREDICT, predict, examples["predict"]
            )
        },
        "/invocations": {
            "post": _scoring(
                "MLflow's scoring protocol", "mlflow", INVOCATIONS, mlflow, examples["invocations"]
            )
        },
    }
    paths["/invocations"]["post"]["requestBody"]["content"]["text/csv"] = {
        "schema": TEXT,
        "example": f"{','.join(names)}\n{','.join(map(str, values))}\n",
    }
    for path in (f"{name}/infer", f"{version}/infer"):
        paths[path] = {"post": _infer(examples["infer"])}
    reads: dict[str, tuple[str, str, str]] = {
        "/healthz": ("Alive", "vigil", ""),
        "/readyz": ("A verified model is loaded", "vigil", "503"),
        "/ping": ("MLflow: a verified model is loaded", "mlflow", "503"),
        "/version": ("MLflow: the release whose scoring protocol this is", "vigil", "401"),
        "/v2": ("Open Inference: server metadata", "v2", "401"),
        "/v2/health/live": ("Open Inference: alive", "v2", ""),
        "/v2/health/ready": ("Open Inference: a verified model is loaded", "v2", "503"),
        name: ("Open Inference: model metadata", "v2", "401 404 503"),
        version: ("Open Inference: metadata of a version", "v2", "401 404 503"),
        f"{name}/ready": ("Open Inference: the model is ready", "v2", "401 404 503"),
        f"{version}/ready": ("Open Inference: the version is ready", "v2", "401 404 503"),
        "/console/about": ("Whether the console's state asks for a key", "vigil", ""),
        "/drift": (
            "What the drift monitor sees and its governor decided; which replica serves what",
            "vigil",
            "401 503",
        ),
        "/metrics": ("Prometheus metrics, summed over the replicas", "vigil", "401"),
        "/console/state": (
            "What the console shows; ask again after X-Vigil-Poll-S seconds, with If-None-Match",
            "vigil",
            "401",
        ),
    }
    kinds = {"/version": "text/plain", "/metrics": "text/plain"}
    for path, (summary, form, statuses) in reads.items():
        answer: Json = {
            "description": "OK",
            "content": {kinds.get(path, "application/json"): {"schema": {}}},
        }
        paths[path] = {
            "get": {
                "summary": summary,
                "responses": {"200": answer, **_refusals(form, f"{statuses} 431 500".split())},
                "parameters": _path_parameters(path, settings),
            }
        }
        if path in (
            "/healthz",
            "/readyz",
            "/ping",
            "/console/about",
            "/v2/health/live",
            "/v2/health/ready",
        ):
            paths[path]["get"]["security"] = []
    acts: dict[str, tuple[str, str, Json | None]] = {
        "/models/promote": (
            "Make a version the champion (operators)",
            "The version, and what each replica serves",
            PROMOTE,
        ),
        "/models/rollback": (
            "Make the former champion champion again (operators)",
            "The same",
            ROLLBACK,
        ),
        "/models/refresh": (
            "Have every replica look at the registry now",
            "Version and digest by replica",
            None,
        ),
        "/feedback": (
            "Say of scored rows whether they were anomalies",
            "How many were matched, how many wait",
            FEEDBACK,
        ),
        "/drift/mode": (
            "Switch the governor's mode; null: the settings' one (operators)",
            "The governor's state",
            MODE,
        ),
    }
    for path, (summary, said, schema) in acts.items():
        answer = {"description": said, "content": {"application/json": {"schema": {}}}}
        statuses = ["401", "403", "408", "413", "415", "431", "500", "503"] + (
            ["400"] if schema else []
        )
        statuses += ["409"] if path != "/models/refresh" else []
        paths[path] = {
            "post": {
                "summary": summary,
                "responses": {"200": answer, **_refusals("vigil", sorted(statuses))},
            }
        }
        if schema:
            paths[path]["post"]["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": schema}},
            }
    for path in (f"{name}/infer", f"{version}/infer"):
        paths[path]["post"]["parameters"] += _path_parameters(path, settings)
    schemes = {
        "key": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    made: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Vigil",
            "version": importlib.metadata.version("vigil"),
            "description": "Real-time anomaly detection",
        },
        "paths": paths,
    }
    if settings.auth_required:
        made |= {
            "components": {"securitySchemes": schemes},
            "security": [{"key": []}, {"header": []}],
        }
    return copy.deepcopy(made)  # shared parts would be anchors to some readers


def _scoring(summary: str, form: str, request: Json, answer: Json, examples: Json) -> Json:
    shown = {name: {"value": value} for name, value in examples.items()}
    timeout = {
        "name": "X-Request-Timeout-Seconds",
        "in": "header",
        "schema": NUMBER,
        "description": "give up after so long",
    }
    statuses = [
        status
        for status in STATUSES
        if status not in ("403", "409") and (status != "404" or form == "v2")
    ]
    return {
        "summary": summary,
        "parameters": [timeout],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request, "examples": shown}},
        },
        "responses": {
            "200": {
                "description": "Scored",
                "headers": MODEL_HEADERS,
                "content": {"application/json": {"schema": answer}},
            },
            **_refusals(form, statuses),
        },
    }


def _infer(examples: Json) -> Json:
    made = _scoring("Open Inference: score rows", "v2", INFER, INFERRED, examples)
    binary: Json = {"schema": {"type": "string", "format": "binary"}}
    made["requestBody"]["content"]["application/octet-stream"] = binary
    made["responses"]["200"]["content"]["application/octet-stream"] = binary
    made["parameters"].append(
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "schema": {"type": "integer", "minimum": 0},
            "description": "binary tensors: the length of the JSON that they follow",
        }
    )
    return made


def _refusals(form: str, statuses: list[str]) -> Json:
    content = {"application/json": {"schema": ERRORS[form]}}
    overload = {"text/plain": {"schema": TEXT}}  # Serve answers it, before any protocol is known
    return {
        status: {
            "description": STATUSES[status],
            "content": content | (overload if status in ("408", "429", "503") else {}),
        }
        for status in statuses
    }


def _path_parameters(path: str, settings: ServeSettings) -> list[Json]:
    examples = {"name": settings.model_name, "version": "1"}
    return [
        {"name": part, "in": "path", "required": True, "schema": TEXT, "example": example}
        for part, example in examples.items()
        if f"{{{part}}}" in path
    ]
