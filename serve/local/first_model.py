"""The training of `vigil up --data` and `vigil demo`, before anything is served.

It has a process of its own, that ends with it: its libraries and its table would otherwise stay in
memory, about 300 MB, for as long as the platform runs.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING

from train.settings import TrainSettings
from vigil.errors import PlatformError, VigilError
from vigil.home import Home, RunningPlatform
from vigil.terminal import say, show_progress

if TYPE_CHECKING:
    from train.registry.moves import Promotable
    from train.spec import JobResult, JobSpec

_KILLED = "the training was killed: there is most likely too little memory (a limit below 3 GiB?)"
_STAYS = (
    "`vigil promote {version} --force` serves it all the same; a detector of its own has a home of "
    "its own: VIGIL_HOME=FOLDER"
)
_FIRST = "no other scores these rows (--require-gate refuses such a version)"


def train_first_model(
    platform: RunningPlatform,
    home: Home,
    spec: JobSpec,
    *,
    require_gate: bool = False,
) -> None:
    """Do the job `spec`, and promote what passes its gate or is the first of its features.

    Raises VigilError where the data are bad and, with `require_gate`, where the gate failed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        training = pool.submit(
            _train,
            platform,
            home,
            spec,
            require_gate,
        )
        try:
            training.result()
        except BrokenProcessPool as error:
            raise PlatformError(_KILLED) from error


def _train(
    platform: RunningPlatform,
    home: Home,
    spec: JobSpec,
    require_gate: bool,
) -> None:
    from train.connect import connected
    from train.preload import TO_FIT, preload
    from train.registry.versions import Registry

    settings = TrainSettings()
    registry = Registry(settings.tracking_uri or platform.tracking_uri, settings.model_name)
    preload(TO_FIT)
    with connected(platform.ray_address), show_progress("training", total=4) as step:
        from train.job import run_job

        result = run_job(
            spec,
            settings,
            registry,
            home,
            step,
        )
    serve_trained(result, registry, require_gate=require_gate)


def serve_trained(
    result: JobResult,
    registry: Promotable,
    *,
    require_gate: bool = False,
) -> None:
    """Promote a version that passes its gate; one that fails too, where no champion has its
    features, and so none is worse off.

    Raises VigilError where the gate failed and is required.
    """
    version = result.version.version
    reason = result.verdict["reason"]
    if result.verdict["passed"]:
        _promote(result, registry, reason=reason)
        say(f"version {version} is champion")
    elif require_gate:
        raise VigilError(f"version {version} failed its gate, and is not served: {reason}")
    elif _is_first_of_its_features(version, registry):
        _promote(result, registry, reason=f"the first of its features; its gate failed: {reason}")
        say(f"warning: version {version} failed its gate: {reason}")
        say(f"version {version} is champion all the same: {_FIRST}")
    else:
        say(f"version {version} failed its gate, the champion stays: {reason}")
        say(_STAYS.format(version=version))


def _promote(
    result: JobResult,
    registry: Promotable,
    *,
    reason: str,
) -> None:
    from train.registry.promotion import promote_version

    promote_version(
        registry,
        result.version.version,
        reason=reason,
        actor="vigil up",
        gates=result.verdict,
        new_schema=True,
        force=True,
    )


def _is_first_of_its_features(version: str, registry: Promotable) -> bool:
    from train.registry.promotion import same_schema

    champion = registry.aliases().get("champion")
    return champion is None or not same_schema(registry.get(version), registry.get(champion))
