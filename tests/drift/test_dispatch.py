"""Retraining by GitHub Actions, against a local server that stands for GitHub's API."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest

from drift.dispatch import DispatchRefused, dispatch
from drift.release import Retraining
from drift.retrain import Retrainer
from drift.rollout import Rollout
from drift.settings import DriftSettings
from drift.training_job import Episode
from serve.metrics import DriftMetrics
from vigil.errors import JobsUnavailable

TOKEN = "ghp_very-secret"
PAYLOAD = {"model": "vigil", "reason": "drift", "episode": "17-3", "data": "s3://b/rows.parquet"}


class GitHub(HTTPServer):
    """Answers with `status` and remembers (path, Authorization, body)."""

    status = 204
    seen: list[tuple[str, str, dict[str, Any]]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = cast(GitHub, self.server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.seen.append((self.path, self.headers["Authorization"], body))
        self.send_response(server.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    monkeypatch.setenv("VIGIL_DRIFT_GITHUB_TOKEN", TOKEN)
    with GitHub(("127.0.0.1", 0), _Handler) as server:
        server.seen = []
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def chosen(github: GitHub, **more: Any) -> DriftSettings:
    return DriftSettings(
        backend="github", github_url=github.url, github_repository="acme/vigil", **more
    )


def test_the_event_carries_what_the_workflow_needs(github: GitHub) -> None:
    dispatch(PAYLOAD, chosen(github))
    dispatch(PAYLOAD, chosen(github, github_workflow="train-model.yml", github_ref="prod"))
    assert github.seen == [
        (
            "/repos/acme/vigil/dispatches",
            f"Bearer {TOKEN}",
            {"event_type": "vigil-retrain", "client_payload": PAYLOAD},
        ),
        (
            "/repos/acme/vigil/actions/workflows/train-model.yml/dispatches",
            f"Bearer {TOKEN}",
            {"ref": "prod", "inputs": PAYLOAD},
        ),
    ]


@pytest.mark.parametrize(
    ("status", "error"), [(401, DispatchRefused), (404, DispatchRefused), (503, JobsUnavailable)]
)
def test_a_refusal_is_told_without_the_token(
    github: GitHub, status: int, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    github.status = status
    with caplog.at_level(logging.DEBUG), pytest.raises(error, match=str(status)) as told:
        dispatch(PAYLOAD, chosen(github))
    assert TOKEN not in str(told.value) + caplog.text + repr(chosen(github))
    assert TOKEN not in chosen(github).model_dump_json()


def retrain(registry: Any, settings: DriftSettings) -> Retraining:
    """A retraining of episode 17-3, while retraining is switched off."""
    rollout = Rollout(settings, DriftMetrics())
    retrainer = Retrainer(settings, registry, rollout, poll_interval_s=0.0)
    return retrainer.run(Episode("17-3", 0.0, "drift"), may_promote=lambda: False)


@pytest.mark.parametrize("passed", [True, False])
def test_a_retraining_is_dispatched_once_and_ends_with_the_version_of_its_episode(
    github: GitHub, passed: bool
) -> None:
    champion = SimpleNamespace(version="1")
    made = SimpleNamespace(version="2")
    registry = SimpleNamespace(
        champion=lambda: champion,
        fetch=lambda *_: SimpleNamespace(info={"data": "rows.csv", "label": None}),
        of_job=lambda job: made if len(github.seen) and job == "17-3" else None,
        gate=lambda _: {"passed": passed, "reason": "why"},
    )
    for _ in range(2):  # a monitor that restarts asks again
        ended = retrain(registry, chosen(github))
        assert (ended.outcome, ended.version) == ("kept", "2")
        assert ("switched off" if passed else "failed the gate") in ended.reason
    assert [body["client_payload"]["episode"] for _, _, body in github.seen] == ["17-3"]


def test_a_workflow_that_registers_nothing_has_failed(github: GitHub) -> None:
    registry = SimpleNamespace(
        champion=lambda: SimpleNamespace(version="1"),
        fetch=lambda *_: SimpleNamespace(info={"data": "rows.csv"}),
        of_job=lambda _: None,
    )
    ended = retrain(registry, chosen(github, retrain_timeout_s=0.05))
    assert ended.outcome == "failed"
    assert "no version within 0.05 s" in ended.reason


def test_without_a_token_nobody_is_asked(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIGIL_DRIFT_GITHUB_TOKEN")
    with pytest.raises(
        DispatchRefused, match="needs a token that may dispatch: VIGIL_DRIFT_GITHUB_TOKEN"
    ):
        dispatch(PAYLOAD, chosen(github))
    assert github.seen == []
