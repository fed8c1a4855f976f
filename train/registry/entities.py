"""What MLflow's tracking API tells of models, versions and runs, as far as Vigil asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class MlflowRefusal(Exception):
    """MLflow refused, or did not answer: `error_code` is MLflow's own."""

    def __init__(self, error_code: str, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


@dataclass(frozen=True)
class MlflowModel:
    """A registered model; `aliases` are versions by alias, the time is in Unix milliseconds."""

    name: str
    aliases: Mapping[str, str]
    tags: Mapping[str, str]
    creation_timestamp: int
    description: str = ""


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model; the time is in Unix milliseconds."""

    version: str
    run_id: str
    aliases: Sequence[str]
    tags: Mapping[str, str]
    creation_timestamp: int
    description: str = ""


@dataclass(frozen=True)
class RunInfo:
    """The state of a run; the time is in Unix milliseconds."""

    run_id: str
    experiment_id: str
    status: str
    start_time: int
    artifact_uri: str


@dataclass(frozen=True)
class RunData:
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Run:
    info: RunInfo
    data: RunData


@dataclass(frozen=True)
class Experiment:
    experiment_id: str


@dataclass(frozen=True)
class ArtifactFile:
    """A file or folder among the artifacts of a run; its size is in bytes."""

    path: str
    is_dir: bool
    file_size: int | None


@dataclass(frozen=True)
class SearchPage:
    """One page of a search; `token` asks for the next one, empty at the end."""

    items: Sequence[Any]
    token: str

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Any:
        return self.items[place]
