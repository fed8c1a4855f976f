"""Candidate: what a training job hands over for registration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from train.model.bundle import ModelBundle
from vigil.json_types import Fields, Numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sklearn.ensemble import IsolationForest

    from train.table.dataset import Fingerprint
    from train.trial import TuneTrial


@dataclass(frozen=True)
class Candidate:
    """A model before it is registered.

    forest: the scikit-learn model with the scores and labels of the bundle
    params: groups of parameters
    gate: the verdict of the gate, as JSON
    data: what was read
    plots: figures by file name
    commit: of the code that trained
    trials: of the search for the parameters
    """

    forest: IsolationForest
    bundle: ModelBundle
    params: Fields
    metrics: Numbers
    tags: Mapping[str, str]
    gate: Fields
    data: Fingerprint | None = None
    plots: Mapping[str, Figure] = field(default_factory=dict)
    commit: str = ""
    trials: tuple[TuneTrial, ...] = ()
