"""What a training job runs on: Ray, which may be a cluster, the present job's or its own, and the registry."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any

import ray

from train import local_ray
from train.registry.versions import Registry
from train.settings import TrainSettings, TrustSettings
from train.submit import NICENESS
from vigil import reaper
from vigil.home import Home
from vigil.terminal import say

TRAINING_CPUS = 2.0  # reserved at once, at most, with the defaults
OBJECTS = 512 * 2**20  # bytes of the object store of a training's own Ray


def inside_job() -> bool:
    """Whether this process is the driver of a Ray job that was submitted."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray for the length of a block: the cluster at `address`, this job's cluster, or one of its own on this machine.

    What Ray has to say of dead workers it prints; standard output is for results.
    """
    more: dict[str, Any] = {}
    if inside_job():
        os.nice(NICENESS)  # who submitted it may have said nothing of that
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
        more["runtime_env"] = {"env_vars": {"RAY_worker_niceness": str(NICENESS)}}
    own = address is None and "RAY_ADDRESS" not in os.environ
    with reaper.reap_at_exit(uuid.uuid4().hex) if own else nullcontext():
        if own:
            local_ray.start(
                reserved=TRAINING_CPUS,
                objects=OBJECTS,
                tell=say,
                include_dashboard=False,
                **more,
            )
        else:
            quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
            ray.init(address=address, namespace="vigil", **quiet, **more)
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            ray.shutdown()


def open_registry(home: Home, settings: TrainSettings) -> Registry:
    """The registry that the settings name, else the running platform's, else the local database."""
    platform = home.platform()
    uri = settings.tracking_uri or (platform.tracking_uri if platform else None)
    if uri is None:
        home.create()
    return Registry(
        uri or home.database_uri,
        settings.model_name,
        home.artifacts if uri is None else None,
        trust=TrustSettings().open(),
        signing_key=settings.signing_key,
    )
