"""`pulumi up` ends when the platform serves, or says why it does not.

`watch` looks while the program runs and warns of what stays wrong; `ready` waits at its end.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from infra.diagnosis import diagnose
from infra.diagnosis.objects import KubeObject, RawObject
from infra.diagnosis.ray import describe_progress, is_running
from infra.diagnosis.report import Diagnosis
from infra.diagnosis.snapshot import Readiness
from infra.kube import ClusterClient, ClusterError, connect
from infra.observe import PROXY_TIMEOUT_S, STARTUP_KINDS, ClusterObserver

WATCH_INTERVAL_S = 5.0
READY_INTERVAL_S = 2.0
PERSISTENCE_S = 20.0
MIN_READY_LOOKS = 2  # looks in a row: the operator writes generation and states one after the other
RAY_SERVICE_PATH = "/apis/ray.io/v1/namespaces/vigil/rayservices/vigil"
MLFLOW_PATH = "/apis/apps/v1/namespaces/vigil-tracking/deployments/mlflow"
_UNREACHED_MESSAGES = ("no endpoints available", "no service port")
Connect = Callable[[], ClusterClient]


@dataclass
class PersistentFindings:
    """Which findings have stayed for `persists_s`; each is told once."""

    persists_s: float = PERSISTENCE_S
    _since: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def update(self, found: Sequence[Diagnosis], now: float) -> list[Diagnosis]:
        """The findings of this look, at `now` in seconds, that have now stayed long enough."""
        for name, last in list(self._last.items()):
            # A container that crashes again and again is well in between.
            if now - last > self.persists_s:
                del self._since[name], self._last[name]
                self._told.discard(name)
        for one in found:
            self._since.setdefault(one.what, now)
            self._last[one.what] = now
        told = [one for one in found if self._is_due(one, now)]
        self._told.update(one.what for one in told)
        return told

    def _is_due(self, one: Diagnosis, now: float) -> bool:
        return one.what not in self._told and now - self._since[one.what] >= self.persists_s


def failures(observer: ClusterObserver) -> list[Diagnosis]:
    """What is broken now, that is neither at risk nor still to be done."""
    found = diagnose(observer.look(STARTUP_KINDS, deep=False).seen, expected=())
    return [one for one in found if one.grade == "failure"]


class ClusterWatch:
    """Looks every few seconds, in a thread of its own, and warns of failures that stay.

    Nothing that happens to it reaches the program.
    """

    def __init__(
        self,
        connect: Connect,
        warn: Callable[[str], None],
        *,
        poll_s: float = WATCH_INTERVAL_S,
        persists_s: float = PERSISTENCE_S,
    ) -> None:
        self._connect = connect
        self._warn = warn
        self._poll_s = poll_s
        self._persisting = PersistentFindings(persists_s)
        self._stop = threading.Event()
        context = contextvars.copy_context()  # Pulumi's settings are found by it
        self._thread = threading.Thread(target=context.run, args=(self._run,), daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 0.0) -> None:
        """Look no more; waits at most `timeout_s` for a look that is under way."""
        self._stop.set()
        self._thread.join(timeout_s)

    @property
    def running(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive()

    def _run(self) -> None:
        observer: ClusterObserver | None = None
        try:
            while not self._stop.wait(self._poll_s):
                observer, found = self._look(observer)
                for one in self._persisting.update(found, time.monotonic()):
                    self._warn(str(one))
        except Exception as error:  # whatever it is, the program goes on without a watch
            pulumi.log.debug(f"the watch over the cluster has ended: {error!r}")

    def _look(
        self, observer: ClusterObserver | None
    ) -> tuple[ClusterObserver | None, list[Diagnosis]]:
        try:
            observer = observer or ClusterObserver(self._connect())
            return observer, failures(observer)
        except ClusterError as error:
            fix = "the `up` goes on once it is back; if it has ended, `pulumi up` again mends it"
            return None, [Diagnosis("the cluster", error.message, fix)]


@dataclass(frozen=True)
class PlatformState:
    """How far the platform is: `reached` says how that is known, empty: it is not there yet."""

    told: str
    reached: str = ""


class PlatformProbe:
    """Asks whether the service can be reached and MLflow runs; an API server may come and go."""

    def __init__(self, connect: Connect, *, proxy_timeout_s: float = PROXY_TIMEOUT_S) -> None:
        self._connect = connect
        self._proxy_timeout_s = proxy_timeout_s
        self._cluster: ClusterClient | None = None

    def state(self) -> PlatformState:
        """Where it stands now."""
        try:
            return self._state(self._connected())
        except ClusterError as error:
            self._cluster = None  # a login or a connection that has died is not asked again
            return PlatformState(error.message)

    def findings(self) -> list[Diagnosis]:
        """What is wrong now, and what is still under way."""
        try:
            return diagnose(self._observer().look().seen)
        except ClusterError as error:
            return [Diagnosis("the cluster", error.message, "`pulumi up` again once it is back")]

    def _observer(self) -> ClusterObserver:
        return ClusterObserver(self._connected(), proxy_timeout_s=self._proxy_timeout_s)

    def _connected(self) -> ClusterClient:
        self._cluster = self._cluster or self._connect()
        return self._cluster

    def _state(self, cluster: ClusterClient) -> PlatformState:
        service = cluster.get(RAY_SERVICE_PATH)
        if service is None:
            return PlatformState("there is no RayService yet")
        if (told := unsettled_reason(service)) is not None:
            return PlatformState(f"RayService: {told}")
        if not _available(cluster.get(MLFLOW_PATH)):
            return PlatformState("MLflow is not available yet")
        answer = self._observer().readiness()
        if answer is not None and not answer.reached and _leads_nowhere(answer):
            return PlatformState(f"the service: {answer.error}")
        if answer is None or not answer.reached:
            # Network policies keep the API server out: then the operator's word has to do.
            return PlatformState("ready", "the operator counts endpoints that serve")
        if answer.status == 200:
            return PlatformState("ready", "/readyz answers 200")
        if answer.error == "NoModel":
            return PlatformState("ready", "/readyz answers 503: no champion yet")
        return PlatformState(f"/readyz answers {answer.status}")


def _leads_nowhere(answer: Readiness) -> bool:
    """Whether the API server knows of nothing to ask, and has not been kept from asking."""
    return answer.status == 404 or any(part in answer.error for part in _UNREACHED_MESSAGES)


def unsettled_reason(raw: RawObject) -> str | None:
    """Why a RayService is not yet what its spec asks for; None: it is."""
    service = KubeObject("RayService", raw)
    if service.status.get("observedGeneration", 0) < service.metadata.get("generation", 0):
        return "the operator has not seen the change yet"
    if service.is_true("UpgradeInProgress"):
        return f"a second cluster takes over ({describe_progress(service)})"
    return None if is_running(service) else describe_progress(service)


def _available(deployment: RawObject | None) -> bool:
    """Whether there is none (somebody else's MLflow), or it has a pod that answers."""
    return deployment is None or KubeObject("Deployment", deployment).is_true("Available")


async def wait_until_ready(
    probe: PlatformProbe,
    timeout_s: float,
    *,
    tell: Callable[[str], None],
    poll_s: float = READY_INTERVAL_S,
) -> PlatformState:
    """The state once the platform serves; raises pulumi.RunError with the causes at the deadline.

    Blocks no event loop; a look that is under way ends within the deadlines of `probe`.
    """
    deadline = time.monotonic() + timeout_s
    good = 0
    last = PlatformState("nothing has been asked yet")
    while good < MIN_READY_LOOKS:
        if good == 0 and time.monotonic() >= deadline:
            found = await asyncio.to_thread(probe.findings)
            raise pulumi.RunError(not_ready_message(timeout_s, last, found))
        state = await asyncio.to_thread(probe.state)
        good = good + 1 if state.reached else 0
        if state.told != last.told:
            tell(state.told)
        last = state
        if good < MIN_READY_LOOKS:
            await asyncio.sleep(poll_s)
    return last


def not_ready_message(timeout_s: float, last: PlatformState, found: Sequence[Diagnosis]) -> str:
    """The message of an `up` whose platform does not serve."""
    head = f"the platform does not serve after {timeout_s:g} s (vigil:readyTimeoutS): {last.told}"
    if not found:
        return f"{head}. No cause is to be seen: `vigil doctor cluster` looks again"
    return "\n".join([head, *(f"- {one}" for one in found)])


# --- for the program ---


def start_watch(
    kubeconfig: pulumi.Input[str] | None = None,
    *,
    timeout_s: float,
) -> None:
    """Warn of what stays wrong while this `up` runs; nothing at a preview, or with timeout_s 0.

    `kubeconfig`: the text of one, known now or later (EKS); None: that of kubectl.
    """
    if pulumi.runtime.is_dry_run() or timeout_s <= 0:
        return

    def start(text: str | None) -> None:
        ClusterWatch(lambda: connect(text), pulumi.log.warn)

    if kubeconfig is None:
        start(None)
    else:
        pulumi.Output.from_input(kubeconfig).apply(start)


def await_platform(
    done: Sequence[pulumi.Resource],
    kubeconfig: pulumi.Input[str] | None = None,
    *,
    timeout_s: float,
    resource: pulumi.Resource | None = None,
) -> pulumi.Output[str]:
    """Wait, once all of `done` are made, until the platform serves; "" at a preview.

    At the deadline the program ends with pulumi.RunError, which names the causes. `resource`: in
    whose row progress is shown.
    """
    if pulumi.runtime.is_dry_run() or timeout_s <= 0:
        return pulumi.Output.from_input("")
    urns: list[Any] = [one.urn for one in done]

    def tell(message: str) -> None:
        pulumi.log.info(message, resource, ephemeral=True)

    async def serve(values: list[Any]) -> str:
        text = values[-1]
        state = await wait_until_ready(PlatformProbe(lambda: connect(text)), timeout_s, tell=tell)
        pulumi.log.info(f"the platform serves: {state.reached}", resource)
        return state.reached

    return pulumi.Output.all(*urns, kubeconfig).apply(serve)
