"""What a training job runs on: Ray, and the registry.

Ray may be a cluster, the present job's, or one of its own.
"""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import ray

from train.job_log import NICENESS, inside_job
from train.local_ray import exit_on_sigterm, start_local_ray
from train.registry.signature import Trust
from train.registry.versions import Registry
from train.settings import TrainSettings
from vigil import reaper
from vigil.home import Home
from vigil.json_types import JsonObject
from vigil.terminal import say

_TRAINING_CPUS = 2.0  # reserved at once, at most, with the defaults
_OWN_NICENESS = 0  # of workers of a training's own Ray: this process waits for them (Ray's is 15)
_OBJECT_STORE_BYTES = 512 * 2**20  # of a training's own Ray
# Ray Train's controller reads these.
_TRAIN_VARIABLES = {
    # Between two looks at its workers: their reports wait for the next one, and so does the end
    # (2 s by default).
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # It is a process of its own, and a fit is over before a machine is taken away.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to Ray for the length of a block.

    It is the cluster at `address`, this job's cluster, or one of its own on this machine. What Ray
    has to say of dead workers it prints; standard output is for results.
    """
    if address is None and "RAY_ADDRESS" not in os.environ:
        ray_of_block = _own_ray(_job_environment(_OWN_NICENESS))
    else:
        niceness = NICENESS if inside_job() else None
        ray_of_block = _cluster(address, _job_environment(niceness))
    # Redirected beyond Ray's end: it keeps some of its messages back until then.
    with redirect_stdout(sys.stderr), ray_of_block:
        yield


def _job_environment(niceness: int | None) -> JsonObject:
    """Arguments of ray.init: the environment of all workers of this job.

    Inside a job that was submitted they take only the CPUs that replicas leave.
    """
    variables = dict(_TRAIN_VARIABLES)
    if inside_job():
        os.nice(NICENESS)  # who submitted it may have said nothing of that
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
    if niceness is not None:
        variables["RAY_worker_niceness"] = str(niceness)
    return {"runtime_env": {"env_vars": variables}}


@contextmanager
def _own_ray(arguments: JsonObject) -> Iterator[None]:
    with reaper.reap_at_exit(uuid.uuid4().hex):
        start_local_ray(
            reserved=_TRAINING_CPUS,
            objects=_OBJECT_STORE_BYTES,
            on_warning=say,
            prestart=False,
            **arguments,
        )
        with _shutting_down():
            yield


@contextmanager
def _cluster(address: str | None, arguments: JsonObject) -> Iterator[None]:
    ray.init(
        address=address,
        namespace="vigil",
        log_to_driver=False,
        logging_level=logging.ERROR,
        **arguments,
    )
    exit_on_sigterm()
    with _shutting_down():
        yield


@contextmanager
def _shutting_down() -> Iterator[None]:
    try:
        yield
    finally:
        ray.shutdown()


def open_registry(home: Home, settings: TrainSettings) -> Registry:
    """Return the registry of the settings, of the running platform, or of the local database."""
    platform = home.platform()
    uri = settings.tracking_uri or (platform.tracking_uri if platform else None)
    artifacts = None
    if uri is None:
        artifacts = home.create().artifacts
        uri = home.database_uri
    return Registry(
        uri,
        settings.model_name,
        artifacts,
        trust=Trust.from_settings(),
        signing_key=settings.signing_key,
    )
