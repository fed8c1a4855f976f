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

from train.job_log import inside_job
from train.local_ray import exit_on_sigterm, start_local_ray
from train.registry.signature import Trust
from train.registry.versions import Registry
from train.settings import TrainSettings
from train.submit import NICENESS
from vigil import reaper
from vigil.home import Home
from vigil.json_types import JsonObject
from vigil.terminal import say

_TRAINING_CPUS = 2.0  # reserved at once, at most, with the defaults
_OBJECT_STORE_BYTES = 512 * 2**20  # of a training's own Ray


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to Ray for the length of a block.

    It is the cluster at `address`, this job's cluster, or one of its own on this machine. What Ray
    has to say of dead workers it prints; standard output is for results.
    """
    environment = _job_environment() if inside_job() else {}
    if address is None and "RAY_ADDRESS" not in os.environ:
        ray_of_block = _own_ray(environment)
    else:
        ray_of_block = _cluster(address, environment)
    with ray_of_block, redirect_stdout(sys.stderr):
        yield


def _job_environment() -> JsonObject:
    """Arguments of ray.init by which workers take only the CPUs that replicas leave."""
    os.nice(NICENESS)  # who submitted it may have said nothing of that
    os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
    return {"runtime_env": {"env_vars": {"RAY_worker_niceness": str(NICENESS)}}}


@contextmanager
def _own_ray(arguments: JsonObject) -> Iterator[None]:
    with reaper.reap_at_exit(uuid.uuid4().hex):
        start_local_ray(
            reserved=_TRAINING_CPUS,
            objects=_OBJECT_STORE_BYTES,
            on_warning=say,
            include_dashboard=False,
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
