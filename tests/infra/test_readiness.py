"""`pulumi up` waits until the platform serves, warns of what stays wrong, says why it failed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra import readiness
from infra.diagnosis.report import Diagnosis
from infra.kube import ClusterClient, connect
from infra.readiness import (
    MLFLOW_PATH,
    RAY_SERVICE_PATH,
    ClusterWatch,
    PersistentFindings,
    PlatformProbe,
    unsettled_reason,
)
from tests.infra import api_server
from tests.infra import cluster_objects as given
from tests.infra.api_server import READYZ, FakeApi, kubeconfig, status

ROOT = Path(__file__).parent.parent.parent
NO_MODEL = {"error": {"type": "NoModel", "message": "no verified model is loaded yet"}}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with api_server.api() as server:
        server.shows(given.WELL)
        available = [given.condition("Available", "True", "MinimumReplicasAvailable")]
        server.replies[MLFLOW_PATH] = 200, {"status": {"conditions": available}}
        server.replies[RAY_SERVICE_PATH] = 200, given.ray_service()
        server.replies[READYZ] = 200, {"status": "ready"}
        yield server


def to(api: FakeApi) -> Callable[[], ClusterClient]:
    return lambda: connect(kubeconfig(api.url), timeout_s=2)


def in_turn(*replies: api_server.Reply) -> Callable[[], api_server.Reply]:
    """Each answer once, and the last one ever after."""
    left = list(replies)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


async def waited(api: FakeApi, timeout_s: float = 30) -> tuple[str, list[str]]:
    told: list[str] = []
    probe = PlatformProbe(to(api), proxy_timeout_s=0.2)
    state = await readiness.wait_until_ready(probe, timeout_s, tell=told.append, poll_s=0.01)
    return state.reached, told


# --- waiting ---


async def test_it_waits_until_readyz_answers_and_tells_how_far_it_is(api: FakeApi) -> None:
    api.replies[RAY_SERVICE_PATH] = in_turn(
        status(404, "no such thing"),
        (200, given.starting(60)),
        (200, given.ray_service()),
    )
    reached, told = await waited(api)
    assert reached == "/readyz answers 200"
    assert told == [
        "there is no RayService yet",
        "RayService: Initializing, vigil DEPLOYING, 0 endpoints",
        "ready",
    ]


async def test_no_champion_yet_is_no_failure_of_an_up(api: FakeApi) -> None:
    api.replies[READYZ] = 503, NO_MODEL
    assert (await waited(api))[0] == "/readyz answers 503: no champion yet"


@pytest.mark.parametrize(
    "refused",
    [
        status(503, "error trying to reach service: dial tcp 10.1.0.9:8000: i/o timeout"),
        status(403, 'services "vigil-serve-svc:8000" is forbidden'),
    ],
)
async def test_where_the_api_server_is_kept_out_the_operators_word_has_to_do(
    api: FakeApi,
    refused: api_server.Reply,
) -> None:
    api.replies[READYZ] = refused
    assert (await waited(api))[0] == "the operator counts endpoints that serve"


async def test_where_the_api_servers_packets_are_dropped_the_operators_word_has_to_do(
    api: FakeApi,
) -> None:
    api.drops.add(READYZ)
    assert (await waited(api))[0] == "the operator counts endpoints that serve"


@pytest.mark.parametrize(
    "nothing",
    [
        status(503, 'no endpoints available for service "vigil-serve-svc"'),
        status(503, 'no service port 8000 found for service "vigil-serve-svc"'),
        status(404, 'services "vigil-serve-svc" not found'),
    ],
)
async def test_a_service_that_leads_nowhere_is_not_ready_whatever_the_operator_says(
    api: FakeApi,
    nothing: api_server.Reply,
) -> None:
    api.replies[READYZ] = in_turn(nothing, (200, {}))
    told = (await waited(api))[1]
    assert told[0].startswith("the service: ")
    assert told[-1] == "ready"


async def test_an_answer_of_500_is_not_ready(api: FakeApi) -> None:
    api.replies[READYZ] = in_turn((500, "oops"), (500, "oops"), (200, {}))
    assert (await waited(api))[1] == ["/readyz answers 500", "ready"]


async def test_mlflow_is_waited_for(api: FakeApi) -> None:
    down = {"status": {"conditions": [given.condition("Available", "False")]}}
    api.replies[MLFLOW_PATH] = in_turn((200, down), api.replies[MLFLOW_PATH])  # type: ignore[arg-type]
    assert (await waited(api))[1] == ["MLflow is not available yet", "ready"]


async def test_one_good_look_between_two_bad_ones_is_not_enough(api: FakeApi) -> None:
    """The operator writes the generation that it has seen before the states that follow from it."""
    good, bad = (200, given.ray_service()), (200, given.starting(5))
    api.replies[RAY_SERVICE_PATH] = in_turn(good, bad, good, good)
    assert (await waited(api))[1][-2:] == [
        f"RayService: {unsettled_reason(given.starting(5))}",
        "ready",
    ]


async def test_an_api_server_that_is_away_for_a_while_is_waited_for(api: FakeApi) -> None:
    api.replies[RAY_SERVICE_PATH] = in_turn(status(500, "etcd is away"), (200, given.ray_service()))
    reached, told = await waited(api)
    assert reached
    assert "etcd is away" in told[0]


async def test_at_the_deadline_the_causes_are_told_with_what_helps(api: FakeApi) -> None:
    pull = given.waiting("ErrImagePull", "registry.example/vigil:1: not found")
    sick = given.pod(statuses=[given.container_status(state=pull)])
    service = given.starting(600)
    api.shows({**given.WELL, "Pod": [sick], "RayService": [service]})
    api.replies[RAY_SERVICE_PATH] = 200, service
    with pytest.raises(pulumi.RunError) as caught:
        await waited(api, timeout_s=0.1)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("the platform does not serve after 0.1 s (vigil:readyTimeoutS): Ray")
    assert lines[1].startswith("- pod vigil/vigil-serve-abc: image registry.example/vigil:1 cannot")
    assert "vigil:image" in lines[1]


async def test_at_the_deadline_without_a_cause_the_doctor_is_named(api: FakeApi) -> None:
    api.replies[RAY_SERVICE_PATH] = status(404, "not there, and not in the list either")
    api.shows({**given.WELL, "RayService": []})
    with pytest.raises(pulumi.RunError, match="`vigil doctor cluster` looks again"):
        await waited(api, timeout_s=0.1)


async def test_at_the_deadline_an_api_server_that_is_away_is_the_cause(api: FakeApi) -> None:
    api.hang.set()
    api.replies.clear()

    def short() -> ClusterClient:
        return connect(kubeconfig(api.url), timeout_s=0.1)

    with pytest.raises(pulumi.RunError, match=r"the cluster: the API server .* does not answer"):
        await readiness.wait_until_ready(PlatformProbe(short), 0.2, tell=[].append, poll_s=0.01)


def test_a_change_that_the_operator_has_not_seen_or_finished_is_not_settled() -> None:
    service = given.ray_service()
    assert unsettled_reason(service) is None
    service["metadata"]["generation"] = 4
    assert unsettled_reason(service) == "the operator has not seen the change yet"
    swapping = [
        given.condition("Ready", "True", "NonZeroServeEndpoints"),
        given.condition("UpgradeInProgress", "True", "BothActivePendingClustersExist"),
    ]
    assert str(unsettled_reason(given.ray_service(conditions=swapping))).startswith(
        "a second cluster"
    )
    half = {"vigil": given.application(), "drift": given.application("DEPLOYING")}
    assert "drift DEPLOYING" in str(unsettled_reason(given.ray_service(half)))


# --- watching ---


def until(there: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finding(what: str) -> Diagnosis:
    return Diagnosis(what, "why", "fix")


def test_a_finding_is_told_once_when_it_has_stayed() -> None:
    seen = PersistentFindings(20)
    assert seen.update([finding("a")], 0) == []
    assert seen.update([finding("a"), finding("b")], 15) == []
    assert [one.what for one in seen.update([finding("a"), finding("b")], 20)] == ["a"]
    assert [one.what for one in seen.update([finding("a"), finding("b")], 35)] == ["b"]
    assert seen.update([finding("a")], 40) == []


def test_a_finding_that_comes_back_after_a_while_is_new() -> None:
    seen = PersistentFindings(20)
    seen.update([finding("a")], 0)
    seen.update([], 15)  # a container that crashes again and again is well in between
    assert [one.what for one in seen.update([finding("a")], 20)] == ["a"]
    seen.update([], 41)
    assert seen.update([finding("a")], 50) == []
    assert [one.what for one in seen.update([finding("a")], 70)] == ["a"]


def test_looks_may_take_longer_than_a_finding_must_stay() -> None:
    seen = PersistentFindings(20)
    seen.update([finding("a")], 0)
    assert [one.what for one in seen.update([finding("a")], 30)] == ["a"]
    assert seen.update([finding("a")], 60) == []


class Warned:
    """Collects warnings, and can be waited for."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._came = threading.Event()

    def __call__(self, message: str) -> None:
        self.told.append(message)
        self._came.set()

    def wait(self) -> list[str]:
        assert self._came.wait(20), "no warning came"
        return self.told


def watched(api: FakeApi, warned: Callable[[str], None]) -> ClusterWatch:
    return ClusterWatch(to(api), warned, poll_s=0.01, persists_s=0.05)


def now_broken() -> dict[str, list[dict[str, Any]]]:
    """A watch uses the real clock: what it sees is of now."""
    claim = given.claim(storage_class="nosuch")
    claim["metadata"]["creationTimestamp"] = datetime.now(UTC).isoformat()
    return {**given.WELL, "PersistentVolumeClaim": [claim]}


def test_a_watch_warns_once_of_what_stays_wrong(api: FakeApi) -> None:
    api.shows(now_broken())
    warned = Warned()
    watch = watched(api, warned)
    told = warned.wait()
    looks = len(api.asked)
    until(lambda: len(api.asked) > looks + 60)  # several looks more
    watch.stop(10)
    assert not watch.running
    assert len(told) == 1
    assert told[0].startswith("claim vigil/home: there is no storage class 'nosuch'. Set vigil:")


def test_a_watch_warns_of_an_api_server_that_is_away(api: FakeApi) -> None:
    api.replies = {path: status(500, "away") for path in api.replies}
    api.replies["/api/v1/namespaces/vigil/pods"] = status(401, "Unauthorized")
    warned = Warned()
    watch = watched(api, warned)
    assert "the cluster: the API server" in warned.wait()[0]
    watch.stop(10)


def test_a_watch_that_cannot_go_on_ends_and_harms_nobody(api: FakeApi) -> None:
    def broken(message: str) -> None:
        raise RuntimeError("the engine has gone")

    api.shows(now_broken())
    watch = watched(api, broken)
    watch.join(20)
    assert not watch.running


# --- in a program ---

PROGRAM = """
import asyncio, json, sys
import pulumi
from pulumi.runtime import mocks
from pulumi.runtime.stack import run_pulumi_func
from infra import observe, readiness

class Mocks(mocks.Mocks):
    def new_resource(self, args):
        return args.name, args.inputs
    def call(self, args):
        raise AssertionError

asked = json.load(sys.stdin)
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
mocks.set_mocks(Mocks(), preview=asked["preview"])

def program():
    readiness.start_watch(asked["kubeconfig"], timeout_s=asked["timeout_s"])
    made = pulumi.CustomResource("test:index:Thing", "thing", {})
    readiness.await_platform([made], asked["kubeconfig"], timeout_s=asked["timeout_s"])

try:
    loop.run_until_complete(run_pulumi_func(program))
except pulumi.RunError as error:
    print(f"refused: {error}")
else:
    print("done")
"""


def run(api: FakeApi, *, preview: bool = False, timeout_s: float = 20) -> str:
    asked = {"kubeconfig": kubeconfig(api.url), "preview": preview, "timeout_s": timeout_s}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(asked),
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_ends_once_the_platform_serves(api: FakeApi) -> None:
    assert "done" in run(api)
    assert READYZ in api.asked


def test_a_program_whose_platform_does_not_serve_ends_with_the_cause(api: FakeApi) -> None:
    """Nobody exports or uses what `await_platform` returns: the error must still reach Pulumi."""
    api.shows({**given.WELL, "RayService": [given.starting(600)]})
    api.replies[RAY_SERVICE_PATH] = 200, given.starting(600)
    told = run(api, timeout_s=0.2)
    assert "refused: the platform does not serve after 0.2 s" in told
    assert "- RayService vigil/vigil: is not ready" in told


def test_a_preview_or_a_deadline_of_zero_asks_nothing(api: FakeApi) -> None:
    assert "done" in run(api, preview=True)
    assert "done" in run(api, timeout_s=0)
    assert api.asked == []
