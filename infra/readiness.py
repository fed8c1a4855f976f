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
from infra.diagnosis.report import Diagnosis, only_failures
from infra.diagnosis.snapshot import Readiness
from infra.kube import ClusterClient, connect
from infra.kubeconfig import ClusterError
from infra.observe import PROXY_TIMEOUT_S, STARTUP_KINDS, ClusterObserver

WATCH_INTERVAL_S = 5.0
READY_INTERVAL_S = 2.0
PERSISTENCE_S = 20.0
MIN_READY_LOOKS = 2  # looks in a row: the operator writes generation and states one after the other
RAY_SERVICE_PATH = "/apis/ray.io/v1/namespaces/vigil/rayservices/vigil"
MLFLOW_PATH = "/apis/apps/v1/namespaces/vigil-tracking/deployments/mlflow"
_UNREACHED_MESSAGES = ("no endpoints available", "no service port")
_CLUSTER_AWAY = "the `up` goes on once it is back; if it has ended, `pulumi up` again mends it"
Connect = Callable[[], ClusterClient]


@dataclass
class PersistentFindings:
    """Which findings have stayed for `persists_s`; each is told once."""

    persists_s: float = PERSISTENCE_S
    _since: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _missed: set[str] = field(default_factory=set)  # by the look before

    def update(self, found: Sequence[Diagnosis], now: float) -> list[Diagnosis]:
        """The findings of this look, at `now` in seconds, that have now stayed long enough."""
        self._forget_what_is_gone(now)
        for each in found:
            self._since.setdefault(each.what, now)
            self._last[each.what] = now
        self._missed = self._last.keys() - {each.what for each in found}
        due = [each for each in found if self._is_due(each.what, now)]
        self._told.update(each.what for each in due)
        return due

    def _forget_what_is_gone(self, now: float) -> None:
        """A container that crashes again and again is well in between.

        What was there at each look stays, however long a look takes.
        """
        for name in self._missed:
            if now - self._last[name] > self.persists_s:
                del self._since[name], self._last[name]
                self._told.discard(name)

    def _is_due(self, name: str, now: float) -> bool:
        return name not in self._told and now - self._since[name] >= self.persists_s


def failures(observer: ClusterObserver) -> list[Diagnosis]:
    """What is broken now, that is neither at risk nor still to be done."""
    seen = observer.look(STARTUP_KINDS, deep=False).seen
    return only_failures(diagnose(seen, expected=()))


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
        self._observer: ClusterObserver | None = None
        self._stop = threading.Event()
        context = contextvars.copy_context()  # Pulumi's settings are found by it
        self._thread = threading.Thread(
            target=context.run,
            args=(self._run,),
            daemon=True,
        )
        self._thread.start()

    def stop(self, timeout_s: float = 0.0) -> None:
        """Look no more; waits at most `timeout_s` for a look that is under way."""
        self._stop.set()
        self.join(timeout_s)

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended by itself, at most `timeout_s`."""
        self._thread.join(timeout_s)

    @property
    def running(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._poll_s):
                self._warn_of(self._look())
        except Exception as error:  # whatever it is, the program goes on without a watch
            pulumi.log.debug(f"the watch over the cluster has ended: {error!r}")

    def _warn_of(self, found: list[Diagnosis]) -> None:
        for each in self._persisting.update(found, time.monotonic()):
            self._warn(str(each))

    def _look(self) -> list[Diagnosis]:
        try:
            self._observer = self._observer or ClusterObserver(self._connect())
            return failures(self._observer)
        except ClusterError as error:
            self._observer = None
            return [Diagnosis("the cluster", error.message, _CLUSTER_AWAY)]


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
        """What is missing, or else how far the service itself is."""
        missing = _missing_service(cluster.get(RAY_SERVICE_PATH))
        if missing is None and not _available(cluster.get(MLFLOW_PATH)):
            missing = PlatformState("MLflow is not available yet")
        return missing or _service_state(self._observer().readiness())


def _missing_service(service: RawObject | None) -> PlatformState | None:
    if service is None:
        return PlatformState("there is no RayService yet")
    reason = unsettled_reason(service)
    return None if reason is None else PlatformState(f"RayService: {reason}")


def _service_state(answer: Readiness | None) -> PlatformState:
    if answer is None or not answer.reached:
        return _unreached_state(answer)
    if answer.status == 200:
        return PlatformState("ready", "/readyz answers 200")
    if answer.error == "NoModel":
        return PlatformState("ready", "/readyz answers 503: no champion yet")
    return PlatformState(f"/readyz answers {answer.status}")


def _unreached_state(answer: Readiness | None) -> PlatformState:
    """Where network policies keep the API server out, the operator's word has to do."""
    if answer is not None and _leads_nowhere(answer):
        return PlatformState(f"the service: {answer.error}")
    return PlatformState("ready", "the operator counts endpoints that serve")


def _leads_nowhere(answer: Readiness) -> bool:
    """Whether the API server knows of nothing to ask, and has not been kept from asking."""
    return answer.status == 404 or any(part in answer.error for part in _UNREACHED_MESSAGES)


def unsettled_reason(raw: RawObject) -> str | None:
    """Why a RayService is not yet what its spec asks for; None: it is."""
    service = KubeObject("RayService", raw)
    seen = service.status.get("observedGeneration", 0)
    if seen < service.metadata.get("generation", 0):
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
    progress = _Progress(tell)
    while not progress.is_settled:
        if not progress.looks and time.monotonic() >= deadline:
            causes = await asyncio.to_thread(probe.findings)
            raise pulumi.RunError(not_ready_message(timeout_s, progress.last, causes))
        progress.add(await asyncio.to_thread(probe.state))
        if not progress.is_settled:
            await asyncio.sleep(poll_s)
    return progress.last


@dataclass
class _Progress:
    """How often in a row the platform was ready; a change is told."""

    tell: Callable[[str], None]
    last: PlatformState = PlatformState("nothing has been asked yet")
    looks: int = 0

    @property
    def is_settled(self) -> bool:
        """Whether it has been ready often enough."""
        return self.looks >= MIN_READY_LOOKS

    def add(self, state: PlatformState) -> None:
        """Count one look."""
        if state.told != self.last.told:
            self.tell(state.told)
        self.looks = self.looks + 1 if state.reached else 0
        self.last = state


def not_ready_message(
    timeout_s: float,
    last: PlatformState,
    found: Sequence[Diagnosis],
) -> str:
    """The message of an `up` whose platform does not serve."""
    head = f"the platform does not serve after {timeout_s:g} s (vigil:readyTimeoutS): {last.told}"
    if not found:
        return f"{head}. No cause is to be seen: `vigil doctor cluster` looks again"
    causes = [f"- {each}" for each in found]
    return "\n".join([head, *causes])


# --- for the program ---


def start_watch(kubeconfig: pulumi.Input[str] | None = None, *, timeout_s: float) -> None:
    """Warn of what stays wrong while this `up` runs; nothing at a preview, or with timeout_s 0.

    `kubeconfig`: the text of one, known now or later (EKS); None: that of kubectl.
    """
    if not _is_watched(timeout_s):
        return
    if kubeconfig is None:
        _watch(None)
    else:
        pulumi.Output.from_input(kubeconfig).apply(_watch)


def _is_watched(timeout_s: float) -> bool:
    return timeout_s > 0 and not pulumi.runtime.is_dry_run()


def _watch(kubeconfig: str | None) -> None:
    ClusterWatch(lambda: connect(kubeconfig), pulumi.log.warn)


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
    if not _is_watched(timeout_s):
        return pulumi.Output.from_input("")
    urns: list[Any] = [one.urn for one in done]

    def tell(message: str) -> None:
        pulumi.log.info(message, resource, ephemeral=True)

    async def serve(values: list[Any]) -> str:
        probe = PlatformProbe(lambda: connect(values[-1]))
        state = await wait_until_ready(probe, timeout_s, tell=tell)
        pulumi.log.info(f"the platform serves: {state.reached}", resource)
        return state.reached

    return pulumi.Output.all(*urns, kubeconfig).apply(serve)
