"""A platform that asks for keys, with narrow limits, beside another one.

Who comes in, who must wait, who is too slow.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import mcp
import numpy as np
import pandas as pd
import pytest
import requests

from tests.running import Vigil, eventually, free_port, left_of, listening
from train.table import captured
from vigil.home import Home

pytestmark = pytest.mark.platform
LIMITS = {
    "AUTH": "required",
    "MIN_REPLICAS": "1",
    "MAX_REPLICAS": "1",
    "MAX_ONGOING_REQUESTS": "2",
    "MAX_QUEUED_REQUESTS": "2",
    "OVERLOAD_STATUS": "429",
    "RETRY_AFTER_S": "3",
    "BODY_TIMEOUT_S": "2",
    "HEADER_TIMEOUT_S": "2",
}
ROW = [9.0, 9.0, 9.0]


@pytest.fixture(scope="module")
def guarded(platform: Vigil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vigil]:
    """Without a model when the first test begins; killed by the last."""
    home = tmp_path_factory.mktemp("guarded")
    (home / "events").mkdir()
    stream = {
        "STREAM_SOURCE": f"file:{home / 'events'}",
        "STREAM_SINKS": f"file:{home / 'scores'}",
        "STREAM_DEAD_LETTERS": f"file:{home / 'dead'}",
    }
    activated = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    vigil = Vigil(
        home, free_port(), activated | {f"VIGIL_SERVE_{k}": v for k, v in (LIMITS | stream).items()}
    )
    with vigil.running():
        yield vigil


@pytest.fixture(scope="module")
def key(guarded: Vigil) -> str:
    return guarded.json("keys", "new", "tests")["key"]


class Client(requests.Session):
    """Asks the guarded platform by path."""

    base = ""

    def request(self, method: str, url: str, *args: Any, **options: Any) -> requests.Response:
        return super().request(method, self.base + url, *args, timeout=60, **options)


@pytest.fixture(scope="module")
def client(guarded: Vigil, key: str) -> Iterator[Client]:
    with Client() as made:
        made.base = guarded.url
        made.headers["Authorization"] = f"Bearer {key}"
        yield made


def with_key(guarded: Vigil, key: str) -> int:
    return requests.post(
        f"{guarded.url}/predict", json={"features": ROW}, headers={"X-API-Key": key}, timeout=30
    ).status_code


@asynccontextmanager
async def assistant(vigil: Vigil, key: str, *options: str) -> AsyncIterator[mcp.Client]:
    """The official client, which starts `vigil mcp` as an assistant does."""
    command = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "vigil", "mcp", *options],
        env={"VIGIL_HOME": str(vigil.home), "VIGIL_URL": vigil.url, "VIGIL_API_KEY": key},
    )
    async with mcp.Client(command) as client:
        yield client


def test_two_platforms_run_side_by_side(platform: Vigil, guarded: Vigil, client: Client) -> None:
    assert platform.get("/readyz")[0] == 200
    assert guarded.get("/healthz")[0] == 200
    assert guarded.get("/readyz")[0] == 503
    answer = client.post("/predict", json={"features": [1.0]})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "vigil train" in answer.json()["error"]["message"]


@pytest.mark.timeout(200)
def test_a_model_comes_from_elsewhere_while_it_runs(
    guarded: Vigil, client: Client, tmp_path: Path
) -> None:
    """Whoever has the token trains on its job server.

    The commands of the machine itself need no key of the operator's.
    """
    found = guarded.platform
    reached = {
        "VIGIL_TRAIN_JOBS_URL": found.dashboard_url,
        "VIGIL_TRAIN_TRACKING_URI": found.tracking_uri,
    }
    elsewhere = Vigil(tmp_path, guarded.port, reached)
    X = np.random.default_rng(0).normal(0, 1, (2000, 3))
    pd.DataFrame(X, columns=["a", "b", "c"]).to_csv(guarded.home / "table.csv", index=False)
    asked = "train", "--data", str(guarded.home / "table.csv")
    assert "another token" in elsewhere.run(*asked, code=1)
    elsewhere.environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": Path(found.token_path).read_text(),
    }
    version = elsewhere.json(*asked)["version"]
    guarded.json("promote", version)
    eventually(lambda: guarded.get("/readyz")[0] == 200)
    assert client.post("/predict", json={"features": ROW}).json()["prediction"] == -1


def test_a_stream_is_scored_on_the_cluster_and_counted(guarded: Vigil, client: Client) -> None:
    lines = [f'{{"id": {i}, "features": [{i % 7}.5, 0.1, 0.2]}}' for i in range(2000)]
    (guarded.home / "events" / "live.jsonl").write_text(
        "\n".join([*lines, '{"id": "poison", "features": [1]}', ""])
    )
    (guarded.home / "scores").mkdir(exist_ok=True)

    def scored() -> list[str]:
        found = [
            line
            for file in (guarded.home / "scores").glob("*.jsonl")
            for line in file.read_text().splitlines()
        ]
        return found if len(found) >= 2000 else []

    assert [json.loads(line)["id"] for line in eventually(scored)] == list(range(2000))
    assert "poison" in (guarded.home / "dead" / "live.jsonl").read_text()
    eventually(
        lambda: (
            {
                'vigil_stream_records_total{outcome="scored"} 2000.0',
                'vigil_stream_lag{shard="live.jsonl"} 0.0',
            }
            <= set(client.get("/metrics").text.splitlines())
        )
    )


def test_only_who_has_a_key_comes_in(guarded: Vigil, key: str, client: Client) -> None:
    for path in ("/predict", "/invocations", "/v2/models/vigil/infer"):
        for headers in ({}, {"X-API-Key": key + "x"}, {"Authorization": "Bearer a.b.c"}):
            assert (
                requests.post(
                    guarded.url + path, json={"features": ROW}, headers=headers, timeout=30
                ).status_code
                == 401
            )
    for path in ("/drift", "/metrics", "/docs", "/openapi.json", "/v2"):
        assert requests.get(guarded.url + path, timeout=30).status_code == 401
        assert client.get(path).status_code == 200
    second = guarded.json("keys", "new", "second")["key"]
    eventually(lambda: with_key(guarded, second) == 200)
    guarded.run("keys", "revoke", "second")
    eventually(lambda: with_key(guarded, second) == 401)
    assert with_key(guarded, key) == 200


async def test_an_assistant_reads_with_a_key_and_promotes_with_an_operators(
    guarded: Vigil, key: str
) -> None:
    promotion = {"version": "1", "reason": "said so"}
    async with assistant(guarded, key, "--operate") as client:
        status = await client.call_tool("status", {})
        incidents = await client.call_tool("incidents", {"state": "all"})
        refused = await client.call_tool("promote", promotion)
    assert status.structured_content is not None
    assert status.structured_content["status"] == "ready"
    assert incidents.structured_content is not None
    assert isinstance(incidents.structured_content["incidents"], list)
    assert (refused.is_error, "is not an operator" in str(refused.content)) == (True, True)
    async with assistant(guarded, "") as client:
        nobody = await client.call_tool("incidents", {})
        unknown = await client.call_tool("promote", promotion)
    assert (nobody.is_error, "answers 401" in str(nobody.content)) == (True, True)
    assert unknown.is_error


def test_overload_is_told_and_passes(client: Client) -> None:
    """Who is not let in hears when to come again; who is let in gets an answer."""
    body = b'{"instances": [' + b",".join([b"[0.1, 0.2, 0.3]"] * 20_000) + b"]}"

    with ThreadPoolExecutor(40) as many:
        answers = list(many.map(lambda _: client.post("/predict", data=body), range(40)))
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429}
    assert {answer.headers["retry-after"] for answer in answers if answer.status_code == 429} == {
        "3"
    }
    assert client.post("/predict", json={"features": ROW}).status_code == 200


def test_a_client_may_ask_for_less_time(guarded: Vigil, client: Client, key: str) -> None:
    assert (
        client.post(
            "/predict", json={"features": ROW}, headers={"X-Request-Timeout-Seconds": "20"}
        ).status_code
        == 200
    )
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
        "X-Request-Timeout-Seconds: 0.3\r\nContent-Length: 90000\r\n"
    )
    with socket.create_connection(("127.0.0.1", guarded.port), 20) as stalled:
        stalled.sendall(
            f"{head}\r\n{'[' * 50_000}".encode()
        )  # the replica has it, and waits for the rest
        with stalled.makefile("rb") as answer:  # head and body may arrive apart
            status = answer.readline()
            assert status.split(b" ")[1] == b"408"
            assert any(b"timed out" in line for line in answer), status


def test_slow_and_half_open_clients_hold_nobody_up(
    guarded: Vigil, client: Client, key: str
) -> None:
    with ExitStack() as stack:
        half = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", guarded.port), 20))
            for _ in range(40)
        ]
        for i, connection in enumerate(slow):
            connection.sendall((half + ("Content-Length: 100\r\n\r\n{" if i % 2 else "")).encode())
        large = stack.enter_context(socket.create_connection(("127.0.0.1", guarded.port), 20))
        large.sendall(
            (half + f"Content-Length: 90000\r\n\r\n{'[' * 50_000}").encode()
        )  # more than HAProxy waits for
        for _ in range(20):
            assert client.post("/predict", json={"features": ROW}).status_code == 200
        answers = [connection.recv(4096).split(b" ")[1] for connection in slow]
        assert set(answers) == {b"408"}
        assert large.recv(4096).split(b" ")[1] in (
            b"408",
            b"400",
        )  # from the replica, or from HAProxy that gave up first


def test_an_answer_is_reproduced_from_what_was_captured(guarded: Vigil, client: Client) -> None:
    rows = np.random.default_rng(1).normal(0, 1, (2000, 3)).tolist()
    answered = client.post(
        "/predict", json={"instances": rows}, headers={"X-Request-Id": "the-one"}
    ).json()
    eventually(lambda: captured.read_request(Home(guarded.home).captured, "the-one"))
    again = guarded.json("replay", "the-one")
    assert again["reproduced"] is True
    assert again["model_version"] == answered["model_version"]
    index = [answered["anomaly_score"].index(score) for score in again["captured_scores"]]
    assert [answered["prediction"][i] for i in index] == again["prediction"]
    assert "no captured row" in guarded.run("replay", "unknown", code=1)


def test_a_platform_that_is_killed_leaves_no_process_and_no_port(
    platform: Vigil, guarded: Vigil
) -> None:
    os.kill(guarded.platform.pid, signal.SIGKILL)
    eventually(lambda: not left_of(guarded.home), 30)
    assert guarded.port not in listening()
    assert platform.get("/readyz")[0] == 200
