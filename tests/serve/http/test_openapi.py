"""The OpenAPI document and the service tell the same."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from serve.http.openapi import openapi_document
from serve.model.loaded import LoadedModel
from serve.settings import ServeSettings
from tests.serve.service import Service

PLACES = {"{name}": "vigil", "{version}": "7"}


def at(path: str) -> str:
    for place, value in PLACES.items():
        path = path.replace(place, value)
    return path


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_document_is_valid_openapi(host: str) -> None:
    made = openapi_document(ServeSettings(host=host))
    validate(made)
    assert ("security" in made) is (host == "0.0.0.0")


def test_every_path_is_described_and_no_other(service: Service) -> None:
    described = {
        (path, method.upper())
        for path, verbs in openapi_document(ServeSettings())["paths"].items()
        for method in verbs
    }
    there = {
        (path, method)
        for path, route in service.detector._gateway._routes.items()
        for method in route.methods
    }
    assert {(path, "HEAD") for path, method in described if method == "GET"} <= there
    pages = {
        path
        for path, _ in there
        if path.startswith(("/docs", "/console/")) or path in ("/", "/openapi.json")
    }
    pages -= {"/console/state", "/console/about"}
    assert {
        (path, method) for path, method in there if method != "HEAD" and path not in pages
    } == described
    open_ones = {
        path for path, route in service.detector._gateway._routes.items() if route.open
    } - pages
    assert {
        p
        for p, verbs in openapi_document(ServeSettings())["paths"].items()
        if verbs.get("get", {}).get("security") == []
    } == open_ones


async def test_every_example_is_accepted_and_answered_as_described(
    service: Service, model: LoadedModel
) -> None:
    described = (await service.ask("GET", "/openapi.json")).json
    tried = 0
    for path, verbs in described["paths"].items():
        if "requestBody" not in verbs.get("post", {}):
            continue
        content = verbs["post"]["requestBody"]["content"]
        if path in (
            "/feedback",
            "/drift/mode",
            "/models/promote",
            "/models/rollback",
        ):  # monitor and registry answer them
            for example in content["application/json"]["schema"]["examples"]:
                jsonschema.validate(example, content["application/json"]["schema"])
            continue
        schema = verbs["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        for example in content["application/json"]["examples"].values():
            jsonschema.validate(example["value"], content["application/json"]["schema"])
            jsonschema.validate(await answer(service, path, example["value"]), schema)
            tried += 1
        if "text/csv" in content:
            csv = content["text/csv"]["example"].encode()
            jsonschema.validate(await answer(service, path, csv, content_type="text/csv"), schema)
    assert tried == 11
    named = described["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]["by name"]
    assert list(named["value"]["features"]) == list(model.bundle.names)


async def answer(service: Service, path: str, body: Any, **headers: str) -> Any:
    reply = await service.ask("POST", at(path), body, **headers)
    assert reply.status == 200, reply.body
    return reply.json


async def test_before_the_first_model_there_is_a_document_too() -> None:
    assert (await Service(None).ask("GET", "/openapi.json")).json["paths"]
