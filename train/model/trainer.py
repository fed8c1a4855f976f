"""Ray Train's trainer with the processes that a fit of a forest needs, and no others.

Every actor of Ray Train is a process, and every process costs one to two seconds of a core before
it does anything. Ray 2.60 starts eight of them for two workers; this trainer starts four: the
controller, the barrier of the workers, and the workers. Left out are

- the manager of datasets: the rows are one object in Ray's store, and there are no datasets;
- the cleaner of placement groups: `train.model.fit` releases those of a controller that died, and
  Ray those of a driver;
- the coordinator of Ray Data and Ray Train, which asks the autoscaler for what the placement group
  asks for anyhow;
- the watcher of preemptions, by a variable of Ray's own.
"""

from __future__ import annotations

from typing import Any

import ray.train
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import RayTrainCallback
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

_NEEDLESS = (DatasetsCallback, PlacementGroupCleanerCallback)


class LeanTrainer(DataParallelTrainer):
    """Ray Train's trainer without the actors that need no process here.

    It overrides private methods of Ray Train, which is why its version is pinned.
    """

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if not isinstance(callback, _NEEDLESS)]

    def _initialize_and_run_controller(self, **arguments: Any) -> ray.train.Result:
        policy = _QuietScaling(self.scaling_config)
        return super()._initialize_and_run_controller(**{**arguments, "scaling_policy": policy})


class _QuietScaling(FixedScalingPolicy):
    """A fixed number of workers, which nobody is asked for but by their placement group."""

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        """Ask nobody."""

    def _maybe_send_resource_request(self) -> None:
        """Ask nobody."""
