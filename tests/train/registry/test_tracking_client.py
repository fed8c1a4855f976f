"""What the registry asks of a client, MLflow's own takes too: it has no types for pyright."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from mlflow import MlflowClient

from train.registry.tracking_client import TrackingClient

METHODS = [name for name in vars(TrackingClient) if not name.startswith("_")]


def positional(method: Callable[..., Any]) -> list[str]:
    """Parameters that a caller may give without their names."""
    parameters = inspect.signature(method).parameters.values()
    return [one.name for one in parameters if one.kind is not one.KEYWORD_ONLY]


def required(method: Callable[..., Any]) -> set[str]:
    parameters = inspect.signature(method).parameters.values()
    return {one.name for one in parameters if one.default is one.empty}


@pytest.mark.parametrize("name", METHODS)
def test_a_call_of_the_registry_is_one_of_mlflows(name: str) -> None:
    asked = getattr(TrackingClient, name)
    own = getattr(MlflowClient, name)
    assert inspect.signature(asked).parameters.keys() <= inspect.signature(own).parameters.keys()
    assert required(own) <= required(asked)
    shared = positional(asked)
    assert positional(own)[: len(shared)] == shared
