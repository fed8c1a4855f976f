"""The OpenAPI document and the service say the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from serve.http.openapi import openapi_document
from serve.http.routes import Route
from serve.model.loaded import LoadedModel
from serve.settings import ServeSettings
from tests.serve.contexts import CALENDAR, looking_back
from tests.serve.service import INFER, SCORING, Service
from train.model.bundle import ModelBundle
from train.table.categories import Category, CategoryCodec
from train.table.impute import Imputation

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


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[[int], ModelBundle]) -> ModelBundle:
    return make_bundle(0)


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


@pytest.fixture(params=["numbers", "words and missing values", "times"])
def any_service(request: pytest.FixtureRequest, bundle: ModelBundle) -> Service:
    """Services whose models take different rows."""
    models = {
        "numbers": LoadedModel.warm("7", "d" * 64, bundle),
        "words and missing values": LoadedModel.warm("7", "d" * 64, with_words(bundle)),
        "times": looking_back("calendar:UTC", fitted=CALENDAR),
    }
    return Service(models[request.param])


def with_words(bundle: ModelBundle) -> ModelBundle:
    """The model, whose last two features are the words of a category, and may miss others."""
    words = Category("proto", "one-hot", ("tcp", "udp"), (0.75, 0.25))
    codec = CategoryCodec(("cpu", "proto", "memory"), (words,))
    names = codec.outputs
    medians = (10.0, 0.0, 0.0, 10.0)
    imputation = Imputation(names, ("median",) * 4, medians, sent=3)
    return replace(
        bundle,
        names=names,
        reference=replace(bundle.reference, names=names),
        categories=codec,
        imputation=imputation,
    )


async def test_every_example_is_accepted_and_answered_as_described(any_service: Service) -> None:
    service = any_service
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


async def test_the_example_of_csv_is_answered_as_described(any_service: Service) -> None:
    service = any_service
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


SENT_ROWS: list[tuple[str, dict[str, Any]]] = [
    ("/predict", {"features": [8.0, "tcp", None]}),
    ("/predict", {"features": {"cpu": True, "proto": "tcp", "memory": None}}),
    ("/predict", {"instances": [[1, "udp", 2], [None, "tcp", 2.0]]}),
    ("/predict", {"history": [[1, "udp", 2], [None, "icmp", 2]]}),
    ("/invocations", {"dataframe_records": [{"cpu": False, "proto": "tcp", "memory": None}]}),
    (
        "/invocations",
        {"dataframe_split": {"columns": ["proto", "memory", "cpu"], "data": [["tcp", None, 1]]}},
    ),
    ("/invocations", {"instances": [[True, "udp", None]]}),
    ("/invocations", {"inputs": {"cpu": [None], "proto": ["tcp"], "memory": [1]}}),
    (
        INFER,
        {
            "inputs": [
                {"name": "features", "datatype": "FP64", "shape": [1, 2], "data": [True, None]},
                {"name": "categories", "datatype": "BYTES", "shape": [1, 1], "data": ["tcp"]},
            ]
        },
    ),
]


@pytest.mark.parametrize(("path", "body"), SENT_ROWS)
async def test_words_truth_values_and_missing_ones_are_described_where_the_model_takes_them(
    path: str, body: dict[str, Any], bundle: ModelBundle, model: LoadedModel
) -> None:
    taking = Service(LoadedModel.warm("7", "d" * 64, with_words(bundle)))
    form = path.replace("vigil", "{name}")
    for service, is_taken in ((taking, True), (Service(None), True), (Service(model), False)):
        document = (await service.ask("GET", "/openapi.json")).json
        content = document["paths"][form]["post"]["requestBody"]["content"]
        is_described = jsonschema.Draft202012Validator(schema_of(document, content)).is_valid(body)
        assert is_described is is_taken
    await answer(taking, path, body)


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
