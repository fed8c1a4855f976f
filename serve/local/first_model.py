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
    from train.registry.versions import Registry
    from train.spec import JobResult, JobSpec

_KILLED = "the training was killed: there is most likely too little memory (a limit below 3 GiB?)"


def train_first_model(platform: RunningPlatform, home: Home, spec: JobSpec) -> None:
    """Do the job `spec` and promote what passes its gate.

    Raises VigilError where the data are bad, or where there is nothing to serve in the end.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            pool.submit(_train, platform, home, spec).result()
        except BrokenProcessPool as error:
            raise PlatformError(_KILLED) from error


def _train(platform: RunningPlatform, home: Home, spec: JobSpec) -> None:
    from train.connect import connected
    from train.job import run_job
    from train.registry.versions import Registry

    settings = TrainSettings()
    registry = Registry(settings.tracking_uri or platform.tracking_uri, settings.model_name)
    with connected(platform.ray_address), show_progress("training", total=4) as step:
        result = run_job(spec, settings, registry, home, step)
    _serve_if_better(result, registry)


def _serve_if_better(result: JobResult, registry: Registry) -> None:
    """Promote what passes its gate; raises VigilError where nothing could be served."""
    from train.registry.promotion import promote_version

    verdict = result.verdict
    if verdict["passed"]:
        version = result.version.version
        promote_version(
            registry,
            version,
            reason=verdict["reason"],
            actor="vigil up",
            gates=verdict,
            new_schema=True,
        )
        say(f"version {version} is champion")
    elif registry.champion() is None:
        reason = verdict["reason"]
        raise VigilError(f"the first model failed its gate, there is nothing to serve: {reason}")
    else:
        say("the new version failed its gate; the champion stays")
