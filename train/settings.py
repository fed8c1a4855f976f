"""TrainSettings: everything that training reads from the environment (`VIGIL_TRAIN_*`), once."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from train.home import Home


class HomeSettings(BaseSettings):
    """`VIGIL_HOME`: the folder of local state, shared by every room."""

    model_config = SettingsConfigDict(env_prefix="VIGIL_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".vigil"), description="folder of local state")

    def open(self) -> Home:
        """The absolute home."""
        return Home(self.home.expanduser().absolute())


class TrainSettings(BaseSettings):
    """How a model is fitted, judged and registered."""

    model_config = SettingsConfigDict(env_prefix="VIGIL_TRAIN_", frozen=True, extra="forbid")

    tracking_uri: str | None = Field(
        default=None, description="MLflow server; default: the running platform's, else the local database"
    )
    model_name: str = Field(default="vigil", description="registered model: one per detector")
    n_estimators: int = Field(default=100, ge=1, le=10_000, description="trees in the merged forest")
    max_samples: int = Field(default=256, ge=2, description="rows each tree sees; every shard needs at least so many")
    max_features: float = Field(default=1.0, gt=0, le=1, description="share of the features each tree sees")
    seed: int = Field(default=0, ge=0, description="seed; a run repeats for one seed and one number of workers")
    workers: int = Field(default=2, ge=1, description="Ray Train workers")
    cpus_per_worker: float = Field(default=0.5, gt=0, description="CPUs that Ray reserves for one worker")
    alert_rate: float = Field(default=0.01, gt=0, lt=0.5, description="alert budget: share of normal rows that may alert")
    holdout: float = Field(
        default=0.2, gt=0, lt=0.9, description="share of the rows kept from the fit for calibration and evaluation"
    )
    sample_rows: int = Field(
        default=100_000, ge=1000, description="most rows kept in memory: a random sample to fit on, and as many of the latest"
    )
    window_rows: int = Field(
        default=500, ge=50, description="rows in one drift window; the reference is calibrated on blocks of this size"
    )
    drift_budget: float = Field(
        default=1.0, gt=0, le=100, description="false drift episodes per 1000 windows that the reference's floors are made for"
    )
    reference_rows: int = Field(default=10_000, ge=200, description="most rows the drift reference keeps")
    alert_band: float = Field(
        default=4.0, gt=1, description="gate: alert rate on the held-out rows, as a multiple of the budget, at most"
    )
    min_planted_auroc: float = Field(default=0.7, ge=0.5, le=1, description="gate: AUROC of planted anomalies, at least")
    auroc_tolerance: float = Field(
        default=0.05, ge=0, le=1, description="gate: the challenger's AUROC may fall so far behind the champion's"
    )
