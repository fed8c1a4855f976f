"""The OpenAPI document and the service say the same."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from serve.http.openapi import openapi_document
from serve.http.routes import Route
from serve.model.loaded import LoadedModel
from serve.settings import ServeSettings
from tests.serve.service import SCORING, Service

ADDRESS = {"{name}": "vigil", "{version}": "7", "{id}": "i-1"}
ANSWERED_BY_OTHERS = (
    "/feedback",
    "/drift/mode",
    "/models/promote",
    "/models/rollback",
    "/incidents/{id}/verdict",
    "/silences/add",
    "/silences/remove",
    "/rules/remove",
)


def at(path: str) -> str:
    for name, value in ADDRESS.items():
        path = path.replace(name, value)
    return path


def is_page(path: str) -> bool:
    """Whether a path serves people and browsers, and is not described."""
    if path in ("/console/state", "/console/about"):
        return False
    return path in ("/", "/openapi.json") or path.startswith(("/docs", "/console/"))


@pytest.fixture
def routes(service: Service) -> dict[str, Route]:
    """The routes that the document describes."""
    by_path = service.gateway.routes.by_path
    return {path: route for path, route in by_path.items() if not is_page(path)}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return openapi_document(ServeSettings())["paths"]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_document_is_valid_openapi(host: str) -> None:
    document = openapi_document(ServeSettings(host=host))
    validate(document)
    assert ("security" in document) is (host == "0.0.0.0")


def test_every_path_is_described_and_no_other(
    routes: dict[str, Route], described: dict[str, Any]
) -> None:
    methods = {path: {method.upper() for method in verbs} for path, verbs in described.items()}
    assert methods == {path: set(route.methods) - {"HEAD"} for path, route in routes.items()}


def test_paths_without_a_key_are_the_open_ones(
    routes: dict[str, Route], described: dict[str, Any]
) -> None:
    without_key = {
        path for path, verbs in described.items() if verbs.get("get", {}).get("security") == []
    }
    assert without_key == {path for path, route in routes.items() if route.is_open}


def schema_of(document: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """The schema of JSON content, with the components that it refers to."""
    schema = content["application/json"]["schema"]
    return {**schema, "components": document["components"]}


async def test_every_example_is_accepted_and_answered_as_described(service: Service) -> None:
    document = (await service.ask("GET", "/openapi.json")).json
    tried: list[str] = []
    for path, verbs in document["paths"].items():
        operation = verbs.get("post", {})
        if "requestBody" not in operation:
            continue
        content = operation["requestBody"]["content"]
        for example in content["application/json"]["examples"].values():
            jsonschema.validate(example["value"], schema_of(document, content))
            if path not in ANSWERED_BY_OTHERS:
                answered = schema_of(document, operation["responses"]["200"]["content"])
                jsonschema.validate(await answer(service, path, example["value"]), answered)
                tried.append(path)
    assert set(map(at, tried)) >= set(SCORING)


async def test_the_example_of_csv_is_answered_as_described(service: Service) -> None:
    document = (await service.ask("GET", "/openapi.json")).json
    operation = document["paths"]["/invocations"]["post"]
    csv = operation["requestBody"]["content"]["text/csv"]["example"].encode()
    answered = schema_of(document, operation["responses"]["200"]["content"])
    jsonschema.validate(
        await answer(service, "/invocations", csv, content_type="text/csv"), answered
    )


async def test_examples_are_rows_of_the_model(service: Service, model: LoadedModel) -> None:
    document = (await service.ask("GET", "/openapi.json")).json
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    named = content["application/json"]["examples"]["by name"]["value"]
    assert named["features"].keys() == set(model.bundle.names)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {}),
        ("/predict", {"features": [1.0], "instances": [[1.0]]}),
        ("/predict", {"features": []}),
        ("/predict", {"features": ["1"]}),
        ("/predict", {"history": []}),
        ("/invocations", {"dataframe_split": {"columns": ["a", "a"], "data": [[1.0, 2.0]]}}),
        ("/invocations", {"inputs": {}}),
        ("/v2/models/{name}/infer", {"inputs": []}),
        (
            "/v2/models/{name}/infer",
            {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [1]}]},
        ),
        ("/feedback", {"labels": []}),
        ("/drift/mode", {"mode": "off"}),
        ("/models/promote", {"version": "0"}),
        ("/models/rollback", {"version": "1"}),
    ],
)
async def test_what_is_refused_is_not_described(
    service: Service, path: str, body: dict[str, Any]
) -> None:
    document = (await service.ask("GET", "/openapi.json")).json
    content = document["paths"][path]["post"]["requestBody"]["content"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, schema_of(document, content))
    reply = await service.ask("POST", at(path), body)
    assert 400 <= reply.status < 500


async def answer(service: Service, path: str, body: Any, **headers: str) -> Any:
    reply = await service.ask("POST", at(path), body, **headers)
    assert reply.status == 200, reply.body
    return reply.json


async def test_before_the_first_model_there_is_a_document_too() -> None:
    assert (await Service(None).ask("GET", "/openapi.json")).json["paths"]
