"""The OpenAPI document: every path, what it takes and answers, with examples.

Schemas are those of the types that decode bodies and encode answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from serve.http.feedback import FeedbackBody, ModeBody
from serve.http.incidents import RecordIdBody, SilenceBody, VerdictBody
from serve.http.invocations import InvocationsBody, InvocationsResult
from serve.http.messages import LINES_TYPE
from serve.http.open_inference import InferBody, InferResult
from serve.http.openapi_paths import ACTIONS, READS, STATUSES, ActionOperation, ReadOperation
from serve.http.operators import PromoteBody, RollbackBody
from serve.http.predict import PredictBody, Prediction, PredictionColumns
from serve.http.refusals import (
    GRAPHITE_PATH,
    ErrorBody,
    GraphiteErrorBody,
    MlflowErrorBody,
    OpenInferenceErrorBody,
)
from serve.http.routes import MODEL_PATH, VERSION_PATH
from serve.http.sent_row import ANY_ROW, SentRow
from serve.settings import ServeSettings
from vigil.json_types import JsonObject
from vigil.release import installed_version

_TEXT: JsonObject = {"type": "string"}
_LINES: JsonObject = {
    "type": "string",
    "description": "a line of JSON for each row: a PredictBody with `features`, and maybe an `id`; "
    "and for each answer, a Prediction or an ErrorBody with `line` and `request_id`",
}
_BINARY: JsonObject = {"schema": {"type": "string", "format": "binary"}}
_EXCLUSIVE = (PredictBody, InvocationsBody)  # a body has exactly one of their fields
_TYPES = (
    *_EXCLUSIVE,
    Prediction,
    PredictionColumns,
    InvocationsResult,
    InferBody,
    InferResult,
    FeedbackBody,
    ModeBody,
    PromoteBody,
    RollbackBody,
    VerdictBody,
    SilenceBody,
    RecordIdBody,
    ErrorBody,
    MlflowErrorBody,
    OpenInferenceErrorBody,
    GraphiteErrorBody,
)
_PLAIN_TEXT_STATUSES = ("408", "429", "503")  # Serve answers before any protocol is known
_MODEL_HEADERS: JsonObject = {
    name: {"schema": _TEXT}
    for name in (
        "X-Vigil-Model-Version",
        "X-Vigil-Model-Digest",
        "X-Vigil-Threshold",
        "X-Vigil-Schema-Hash",
        "X-Request-Id",
    )
}
_TIMEOUT_PARAMETER: JsonObject = {
    "name": "X-Request-Timeout-Seconds",
    "in": "header",
    "schema": {"type": "number"},
    "description": "give up after so long",
}
_JSON_LENGTH_PARAMETER: JsonObject = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "binary tensors: the length of the JSON that they follow",
}
_SECURITY_SCHEMES: JsonObject = {
    "key": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def openapi_document(settings: ServeSettings, row: SentRow = ANY_ROW) -> JsonObject:
    """Return the OpenAPI 3.1 document of the service, whose model takes rows such as `row`."""
    document: JsonObject = {
        "openapi": "3.1.0",
        "info": {
            "title": "Vigil",
            "version": installed_version(),
            "description": "Real-time anomaly detection",
        },
        "paths": {
            **_scoring_paths(settings, row),
            **{read.path: {"get": _read_operation(read, settings)} for read in READS},
            **{action.path: {"post": _action_operation(action, settings)} for action in ACTIONS},
        },
        "components": {"schemas": row.schemas() | _component_schemas()},
    }
    if settings.auth_required:
        document["components"]["securitySchemes"] = _SECURITY_SCHEMES
        document["security"] = [{"key": []}, {"header": []}]
    return document


def _component_schemas() -> JsonObject:
    _, components = msgspec.json.schema_components(
        _TYPES,
        ref_template="#/components/schemas/{name}",
    )
    for exclusive in _EXCLUSIVE:
        schema = components[exclusive.__name__]
        properties = schema.pop("properties")
        schema.pop("required")
        schema.pop("type")
        names = exclusive.__annotations__
        common = {name: properties[name] for name in properties if name not in names}
        schema["oneOf"] = [_only(name, properties[name], common) for name in names]
    return _without_own_types(components)


def _without_own_types(schema: Any) -> Any:
    """The schema without the type of the decoder where it refers to what is said of a value."""
    if isinstance(schema, list):
        return [_without_own_types(part) for part in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    named = cast("JsonObject", schema)
    parts = {name: _without_own_types(part) for name, part in named.items()}
    if "$ref" in parts:
        parts.pop("type", None)
    return parts


def _only(name: str, schema: JsonObject, common: JsonObject) -> JsonObject:
    """The schema of an object with this property, and maybe those that all alternatives have.

    A title is that of the object.
    """
    alternative: JsonObject = {
        "type": "object",
        "properties": {name: schema, **common},
        "required": [name],
    }
    if "title" in schema:
        alternative["title"] = schema.pop("title")
    return alternative


def _ref(of: type[Any]) -> JsonObject:
    return {"$ref": f"#/components/schemas/{of.__name__}"}


def _scoring_paths(settings: ServeSettings, row: SentRow) -> JsonObject:
    paths = {
        "/predict": _predict_operation(row),
        "/invocations": _invocations_operation(row),
        f"{MODEL_PATH}/infer": _infer_operation(f"{MODEL_PATH}/infer", settings, row),
        f"{VERSION_PATH}/infer": _infer_operation(f"{VERSION_PATH}/infer", settings, row),
    }
    return {path: {"post": operation} for path, operation in paths.items()}


def _predict_operation(row: SentRow) -> JsonObject:
    values = list(row.example.values())
    examples: JsonObject = {
        "one row": {"features": values, **row.times},
        "by name": {"features": row.example, **row.times},
        "many rows": {"instances": [values, values], **row.times},
    }
    answer = {
        "oneOf": [
            {"title": "One row", **_ref(Prediction)},
            {"title": "Many rows: columns", **_ref(PredictionColumns)},
        ]
    }
    body = _json_content(PredictBody, examples)
    body[LINES_TYPE] = {"schema": _LINES}
    operation = _scoring_operation(
        "Score one row or many, or a row a line",
        body=body,
        answer=answer,
        error=ErrorBody,
    )
    operation["responses"]["200"]["content"][LINES_TYPE] = {"schema": _LINES}
    return operation


def _invocations_operation(row: SentRow) -> JsonObject:
    columns = row.in_table
    names = list(columns)
    values = list(columns.values())
    examples: JsonObject = {
        "dataframe_split": {"dataframe_split": {"columns": names, "data": [values]}},
        "dataframe_records": {"dataframe_records": [columns]},
        "instances": {"instances": [columns]},
        "inputs": {"inputs": {name: [value] for name, value in columns.items()}},
    }
    csv = f"{','.join(names)}\n{','.join(map(str, values))}\n"
    body = _json_content(InvocationsBody, examples)
    body["text/csv"] = {"schema": _TEXT, "example": csv}
    return _scoring_operation(
        "MLflow's scoring protocol",
        body=body,
        answer=_ref(InvocationsResult),
        error=MlflowErrorBody,
    )


def _infer_operation(path: str, settings: ServeSettings, row: SentRow) -> JsonObject:
    tensors = row.tensors
    examples: JsonObject = {
        "one row": {"inputs": tensors},
        "with reasons": {"inputs": tensors, "outputs": [{"name": "reasons"}]},
    }
    operation = _scoring_operation(
        "Open Inference: score rows",
        body={
            **_json_content(InferBody, examples),
            "application/octet-stream": _BINARY,
        },
        answer=_ref(InferResult),
        error=OpenInferenceErrorBody,
    )
    operation["responses"]["200"]["content"]["application/octet-stream"] = _BINARY
    operation["parameters"] += [_JSON_LENGTH_PARAMETER, *_path_parameters(path, settings)]
    return operation


def _json_content(body: type[Any], examples: JsonObject) -> JsonObject:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"application/json": {"schema": _ref(body), "examples": shown}}


def _scoring_operation(
    summary: str,
    *,
    body: JsonObject,
    answer: JsonObject,
    error: type[Any],
) -> JsonObject:
    scored = {
        "description": "Scored",
        "headers": _MODEL_HEADERS,
        "content": {"application/json": {"schema": answer}},
    }
    return {
        "summary": summary,
        "parameters": [_TIMEOUT_PARAMETER],
        "requestBody": {"required": True, "content": body},
        "responses": {"200": scored, **_refusals(error, _scoring_statuses(error))},
    }


def _scoring_statuses(error: type[Any]) -> list[str]:
    statuses = set(STATUSES) - {"403", "404", "409"}
    if error is OpenInferenceErrorBody:
        statuses.add("404")  # its paths name a model
    return sorted(statuses)


def _read_operation(read: ReadOperation, settings: ServeSettings) -> JsonObject:
    statuses = [*read.statuses, "431", "500"]
    answer: JsonObject = {"description": "OK", "content": {read.content_type: {"schema": {}}}}
    operation: JsonObject = {
        "summary": read.summary,
        "responses": {"200": answer, **_refusals(_error_form(read.path), statuses)},
        "parameters": [*_path_parameters(read.path, settings), *_query_parameters(read.query)],
    }
    if read.is_open:
        operation["security"] = []
    return operation


def _error_form(path: str) -> type[Any]:
    if path.startswith("/v2"):
        return OpenInferenceErrorBody
    if path == "/ping":
        return MlflowErrorBody
    if path.startswith(GRAPHITE_PATH):
        return GraphiteErrorBody
    return ErrorBody


def _action_operation(action: ActionOperation, settings: ServeSettings) -> JsonObject:
    statuses = [*action.statuses, *_action_statuses(action)]
    answer: JsonObject = {
        "description": action.answer,
        "content": {"application/json": {"schema": {}}},
    }
    operation: JsonObject = {
        "summary": action.summary,
        "parameters": _path_parameters(action.path, settings),
        "responses": {"200": answer, **_refusals(_error_form(action.path), sorted(statuses))},
    }
    if action.body is not None:
        content = _json_content(action.body, {"example": action.example})
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _action_statuses(action: ActionOperation) -> Iterator[str]:
    yield from ("401", "408", "413", "431", "500", "503")
    if not action.is_reading:
        yield from ("403", "415")
    if action.path != "/models/refresh" and not action.is_reading:
        yield "409"
    if action.body is not None:
        yield "400"


def _refusals(error: type[Any], statuses: list[str]) -> JsonObject:
    return {status: _refusal(error, status) for status in statuses}


def _refusal(error: type[Any], status: str) -> JsonObject:
    return {"description": STATUSES[status], "content": _refusal_content(error, status)}


def _refusal_content(error: type[Any], status: str) -> JsonObject:
    content: JsonObject = {"application/json": {"schema": _ref(error)}}
    if status in _PLAIN_TEXT_STATUSES:
        content["text/plain"] = {"schema": _TEXT}
    return content


def _path_parameters(path: str, settings: ServeSettings) -> list[JsonObject]:
    examples = {"name": settings.model_name, "version": "1", "id": "i-1"}
    return [
        {"name": part, "in": "path", "required": True, "schema": _TEXT, "example": example}
        for part, example in examples.items()
        if f"{{{part}}}" in path
    ]


def _query_parameters(names: tuple[str, ...]) -> list[JsonObject]:
    return [{"name": name, "in": "query", "schema": _TEXT} for name in names]
