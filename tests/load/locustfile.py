"""Load scenarios for Locust: rows, batches, Open Inference Protocol, bad input, keys; or a mix.

    uvx 'locust>=2.40,<3' -f tests/load/locustfile.py --host http://127.0.0.1:8000

has Locust's page; with `--headless -u 8 -t 30s Single Batch` behind it there is none.

Rows are random numbers in the model's own columns; VIGIL_API_KEY is shown where it is set.
"""

from __future__ import annotations

import os
import random
from typing import Any

from locust import HttpUser, between, events, task  # type: ignore[import-not-found]

ROWS = 100


class _Caller(HttpUser):
    abstract = True
    wait_time = between(0.0, 0.02)

    def on_start(self) -> None:
        if key := os.environ.get("VIGIL_API_KEY"):
            self.client.headers["Authorization"] = f"Bearer {key}"
        self.features: list[str] = self.client.get("/readyz").json()["features"]

    def row(self) -> list[float]:
        return [random.gauss(0, 100) for _ in self.features]

    def ask(self, path: str, body: Any, expected: int = 200) -> None:
        with self.client.post(path, json=body, catch_response=True) as answer:
            if answer.status_code == expected:
                answer.success()
            else:
                answer.failure(f"{answer.status_code} instead of {expected}: {answer.text[:200]}")


class Single(_Caller):
    weight = 6

    @task
    def predict(self) -> None:
        self.ask("/predict", {"features": self.row()})


class Batch(_Caller):
    weight = 2

    @task
    def predict(self) -> None:
        self.ask("/predict", {"instances": [self.row() for _ in range(ROWS)]})

    @task
    def invocations(self) -> None:
        rows = [self.row() for _ in range(ROWS)]
        self.ask("/invocations", {"dataframe_split": {"columns": self.features, "data": rows}})


class OpenInference(_Caller):
    weight = 1

    @task
    def infer(self) -> None:
        data = [value for _ in range(ROWS) for value in self.row()]
        tensor = {
            "name": "features",
            "datatype": "FP64",
            "shape": [ROWS, len(self.features)],
            "data": data,
        }
        self.ask("/v2/models/vigil/infer", {"inputs": [tensor]})


class BadInput(_Caller):
    weight = 1

    @task
    def too_short(self) -> None:
        self.ask("/predict", {"features": self.row()[:-1]}, 422)

    @task
    def not_numbers(self) -> None:
        self.ask("/predict", {"features": ["x", *self.row()[1:]]}, 422)

    @task
    def neither(self) -> None:
        self.ask("/predict", {"rows": []}, 400)


class Stranger(_Caller):
    """Shows a wrong key: refused where keys are asked for, served where they are not."""

    weight = 1

    @task
    def predict(self) -> None:
        headers = {"Authorization": "Bearer wrong"}
        expected = 401 if os.environ.get("VIGIL_API_KEY") else 200
        with self.client.post(
            "/predict", json={"features": self.row()}, headers=headers, catch_response=True
        ) as answer:
            if answer.status_code == expected:
                answer.success()
            else:
                answer.failure(f"{answer.status_code} instead of {expected}")


@events.quitting.add_listener
def _exit_code(environment: Any, **_: Any) -> None:
    environment.process_exit_code = 1 if environment.stats.total.num_failures else 0
