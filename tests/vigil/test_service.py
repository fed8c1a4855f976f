"""A command finds the service that is named, or the one that runs here.

What it is told of one that refuses or is away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.answering import Asked, answering
from tests.running import free_port
from tests.train.registry.test_promotion import Known, Shelf
from train import versions_cli
from train.followed_registry import wait_for_replicas
from train.registry.moves import completed_moves
from train.registry.promotion import promote_version
from vigil import __main__ as vigil
from vigil.errors import PlatformError, RegistryError
from vigil.home import Home, RunningPlatform
from vigil.process_birth import own_birth
from vigil.service import Service, ServiceOptions, Unanswered

KEY = "vigil_secret"
NAMES = ("VIGIL_URL", "VIGIL_API_KEY", "VIGIL_API_KEY_FILE", "VIGIL_TRAIN_TRACKING_URI")


class Far:
    """A service elsewhere, which wants KEY.

    Its replicas serve the champion of `shelf` at the `after`th look.
    """

    def __init__(self, shelf: Shelf, after: int = 1) -> None:
        self.shelf, self.after, self.asked = shelf, after, list[Asked]()
        self.away: set[str] = set()  # paths whose part of the service is away

    def __call__(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked)
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return 401, {"error": {"type": "Unauthorized", "message": "the key is not known"}}
        if asked.path in self.away:
            return 503, {"error": {"type": "NoMonitor", "message": "the drift monitor is away"}}
        if asked.path == "/readyz":
            return 200, {"status": "ready", "model_version": self.version}
        if asked.path == "/drift/mode":
            return 200, {"phase": "watching", "reason": f"asked {asked.body.decode()}"}
        if asked.path == "/drift":
            self.after -= 1
            return 200, self.status
        return 200, {}

    @property
    def version(self) -> str:
        return self.shelf.alias["champion"] if self.after <= 0 else "0"

    @property
    def status(self) -> dict[str, Any]:
        replica = {"replica": "r", "version": self.version, "digest": "d", "since": 0.0}
        return {
            "replicas": [replica | {"source": "registry", "refused": {}}],
            "governor": {
                "mode": "auto",
                "phase": "watching",
                "reason": "quiet",
                "retrains_left": 4,
            },
            "features": [],
            "verdict": None,
            "retrains": 0,
        }


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No platform runs here, and nobody has named one."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path))


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The registry of the commands, with a champion."""
    made = Shelf()
    made.champion = lambda: made.get(made.alias["champion"])  # type: ignore[attr-defined]
    promote_version(made, "1", reason="first", actor="ann")
    monkeypatch.setattr(versions_cli, "local_registry", lambda: made)
    monkeypatch.setenv("VIGIL_TRAIN_TRACKING_URI", "http://mlflow")
    return made


@pytest.fixture
def far(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    """A service that VIGIL_URL and VIGIL_API_KEY name."""
    made = Far(shelf)
    with answering(made) as url:
        monkeypatch.setenv("VIGIL_URL", url)
        monkeypatch.setenv("VIGIL_API_KEY", KEY)
        yield made


def run(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(vigil.main, list(words))
    assert done.exit_code == code, done.output
    return done


def platform(home: Path, url: str) -> RunningPlatform:
    """The record of one that runs in `home`, as this process."""
    (home / "state").mkdir(parents=True, exist_ok=True)
    (home / "state" / "api-key").write_text(f"{KEY}\n")
    made = RunningPlatform(
        id="i",
        pid=os.getpid(),
        birth=own_birth(),
        url=url,
        ray_address="",
        dashboard_url="http://127.0.0.1:1",
        tracking_uri="http://127.0.0.1:1",
        token_path="",
        key_path=str(home / "state" / "api-key"),
    )
    Home(home).write_platform(made)
    return made


def test_who_is_named_comes_before_who_runs_here(tmp_path: Path) -> None:
    home, file = Home(tmp_path), tmp_path / "key"
    assert ServiceOptions().find(home) is None
    with pytest.raises(PlatformError, match=r"VIGIL_URL.*VIGIL_API_KEY"):
        ServiceOptions().require(home)
    platform(tmp_path, "http://here")
    assert ServiceOptions().require(home) == Service("http://here", KEY)
    assert ServiceOptions(key="k").require(home) == Service("http://here", "k")
    file.write_text("from a file\n")
    assert ServiceOptions("http://far/", key_file=file).require(home) == Service(
        "http://far", "from a file"
    )
    assert ServiceOptions("http://far", "k", file).require(home) == Service("http://far", "k")
    assert ServiceOptions("http://far").require(home).headers == {}
    with pytest.raises(PlatformError, match="key file"):
        ServiceOptions("http://far", key_file=tmp_path / "none").require(home)
    assert KEY not in repr(Service("http://far", KEY)) + repr(ServiceOptions("http://far", KEY))


def test_a_refusal_is_told_in_the_services_words(far: Far) -> None:
    url = os.environ["VIGIL_URL"]
    with pytest.raises(
        Unanswered, match=r"answers 401: the key is not known \(.*VIGIL_API_KEY"
    ) as caught:
        Service(url, "another").get("/drift")
    assert caught.value.code == 401
    far.away = {"/drift"}
    with pytest.raises(Unanswered, match="answers 503: the drift monitor is away") as caught:
        Service(url, KEY).get("/drift")
    assert caught.value.answer["error"]["type"] == "NoMonitor"
    with pytest.raises(OSError, match="does not answer") as nobody:
        Service(f"http://127.0.0.1:{free_port()}").post("/drift/mode")
    assert isinstance(nobody.value, Unanswered)
    assert nobody.value.code is None


def test_status_and_drift_ask_the_service_that_is_named(far: Far) -> None:
    far.after = 0
    found = json.loads(run("status", "--json").output)
    assert (found["url"], found["parts"]) == (
        os.environ["VIGIL_URL"],
        {"serve": True, "monitor": True},
    )
    assert found["ready"]["model_version"] == "1"
    assert "1" in run("status").output
    assert "quiet" in run("drift", "status").output
    assert 'asked {"mode": "observe"}' in run("drift", "mode", "observe").output
    far.away = {"/drift"}
    found = json.loads(run("status", "--json").output)
    assert found["parts"] == {"serve": True, "monitor": False}
    assert "the drift monitor is away" in run("drift", "status", code=1).output


COMMANDS = (
    ["status"],
    ["drift", "status"],
    ["drift", "mode", "auto"],
    ["top", "--once"],
    ["stream", "--rows", "1"],
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_where_no_service_is_known_it_is_said_how_to_name_one(words: list[str]) -> None:
    assert "--url (VIGIL_URL), and its key with VIGIL_API_KEY" in run(*words, code=1).output


@pytest.mark.parametrize("words", COMMANDS[:4], ids=" ".join)
def test_a_wrong_key_is_told(far: Far, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_API_KEY", "another")
    assert "401" in run(*words, code=1).output


def test_promote_and_rollback_wait_for_the_replicas_of_the_service_that_is_named(
    far: Far, shelf: Shelf
) -> None:
    far.after = 3
    assert "version 2 is champion on 1 replicas" in run("promote", "2").output
    assert [asked.path for asked in far.asked] == ["/models/refresh", *["/drift"] * 3]
    assert json.loads(run("rollback", "--json").output) == {
        "version": "1",
        "digest": "digest-1",
        "replicas": ["r"],
    }
    assert len(completed_moves(shelf)) == 3


def test_replicas_that_lag_are_named(far: Far) -> None:
    far.after = 1000
    service = Service(os.environ["VIGIL_URL"], KEY)
    with pytest.raises(RegistryError, match="not served everywhere after 0 s: r"):
        wait_for_replicas(service, "2", timeout_s=0.3)


def test_a_monitor_that_stays_away_is_named(far: Far) -> None:
    far.away = {"/drift"}
    service = Service(os.environ["VIGIL_URL"], KEY)
    with pytest.raises(RegistryError, match="the drift monitor is away"):
        wait_for_replicas(service, "3", timeout_s=0.3)


def test_without_a_service_it_is_said_that_nobody_was_waited_for(shelf: Shelf) -> None:
    told = run("promote", "2").output
    assert (
        "version 2 is champion; nobody was waited for: replicas follow the registry by themselves"
        in told
    )
    assert "VIGIL_URL and VIGIL_API_KEY" in told
    assert json.loads(run("promote", "2", "--json").output)["replicas"] == []


def test_without_a_key_it_is_said_why_nobody_was_waited_for(
    far: Far, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIGIL_API_KEY")
    told = run("promote", "2").output
    assert "nobody was waited for" in told
    assert "answers 401" in told
    assert shelf.alias["champion"] == "2"


def test_on_this_machine_the_local_registry_is_moved_and_no_platform_is_missed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIGIL_TRAIN_TRACKING_URI")
    assert "version 2 is champion; no platform runs here" in run("promote", "2").output


def test_the_platform_that_runs_here_is_waited_for_with_its_own_key(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIGIL_TRAIN_TRACKING_URI")
    with answering(Far(shelf)) as url:
        platform(tmp_path, url)
        assert "version 2 is champion on 1 replicas" in run("promote", "2").output


def test_a_service_elsewhere_is_not_followed_by_the_registry_of_this_machine(
    far: Far, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIGIL_TRAIN_TRACKING_URI")
    assert "VIGIL_TRAIN_TRACKING_URI" in run("promote", "2", code=1).output
    assert shelf.alias["champion"] == "1"


def test_a_version_that_failed_its_gate_needs_force(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "get", lambda version: Known(version, "d", "usual", "failed"))
    assert "`vigil promote 2 --force`" in run("promote", "2", code=1).output
    assert "--force" in run("promote", "2", "--canary", "5:60", code=1).output
    assert "version 2 is champion" in run("promote", "2", "--force").output
