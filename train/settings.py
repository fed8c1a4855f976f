"""TrainSettings: everything that training reads from the environment (`VIGIL_TRAIN_*`), once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from train.home import Home
from train.signature import Trust


class HomeSettings(BaseSettings):
    """`VIGIL_HOME`: the folder of local state, shared by every room."""

    model_config = SettingsConfigDict(env_prefix="VIGIL_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".vigil"), description="folder of local state")

    def open(self) -> Home:
        """The absolute home."""
        return Home(self.home.expanduser().absolute())


class TrustSettings(BaseSettings):
    """`VIGIL_TRUSTED_KEYS`, `VIGIL_REQUIRE_SIGNATURE`: whose bundles are read, by every process that reads one."""

    model_config = SettingsConfigDict(env_prefix="VIGIL_", frozen=True, extra="ignore")

    trusted_keys: Path | None = Field(default=None, description="folder of public keys (*.pub) whose bundles are read")
    require_signature: bool = Field(default=False, description="refuse versions that are not signed")

    def open(self) -> Trust:
        """Raises SigningFailed when a key cannot be read, or none is there and one is required."""
        return Trust.load(self.trusted_keys, self.require_signature)


class TrainSettings(BaseSettings):
    """How a model is fitted, judged and registered."""

    model_config = SettingsConfigDict(env_prefix="VIGIL_TRAIN_", frozen=True, extra="forbid")

    signing_key: str | None = Field(
        default=None, description="key that signs registered bundles: an Ed25519 file (PEM), or awskms:///KEY"
    )
    tracking_uri: str | None = Field(
        default=None, description="MLflow server; default: the running platform's, else the local database"
    )
    model_name: str = Field(default="vigil", description="registered model: one per detector")
    revision: str = Field(default="", description="git commit of the code, for the run; default: the checkout's")
    jobs_url: str | None = Field(
        default=None,
        description="Ray job server of another cluster to train on (http://HOST:8265), with `tracking_uri` for its MLflow; "
        "default: the running platform's, else this machine",
    )
    n_estimators: int = Field(default=100, ge=1, le=10_000, description="trees in the merged forest")
    max_samples: int = Field(default=256, ge=2, description="rows each tree sees; every shard needs at least so many")
    max_features: float = Field(default=1.0, gt=0, le=1, description="share of the features each tree sees")
    seed: int = Field(default=0, ge=0, description="seed; a run repeats for one seed and one number of workers")
    workers: int = Field(default=2, ge=1, description="Ray Train workers")
    cpus_per_worker: float = Field(default=0.5, gt=0, description="CPUs that Ray reserves for one worker")
    alert_rate: float = Field(default=0.01, gt=0, lt=0.5, description="alert budget: share of normal rows that may alert")
    alerts_per_day: float | None = Field(default=None, gt=0, description="alert budget at an expected traffic of `rows_per_day`")
    rows_per_day: float | None = Field(default=None, gt=0, description="expected traffic; with `alerts_per_day` only")
    label_goal: Literal["f_beta", "precision_at_k"] = Field(
        default="f_beta", description="where there are labels: the threshold of the best F-beta, or of the k highest scores"
    )
    beta: float = Field(default=1.0, gt=0, description="F-beta: recall counts so much more than precision")
    alerts_k: int = Field(default=100, ge=1, description="precision at k: alerts among the calibration rows")
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
    max_calibration_error: float = Field(
        default=0.5, gt=0, description="gate: share of the budget by which the alert rate on calibration rows may miss its own"
    )
    min_seed_agreement: float = Field(
        default=0.5, ge=-1, le=1, description="gate: rank correlation with a forest of another seed, at least"
    )
    min_rank_agreement: float = Field(
        default=0.3, ge=-1, le=1, description="gate: rank correlation with the champion's scores, at least (not after drift)"
    )
    captured_weight: float = Field(
        default=1.0, gt=0, description="retraining: captured rows for each row of the baseline that is fitted on"
    )
    min_golden_recall: float = Field(
        default=0.5, ge=0, le=1, description="gate: share of the champion's golden anomalies found, at least (not after drift)"
    )
    max_golden_alerts: float = Field(
        default=0.25, ge=0, le=1, description="gate: share of the champion's normal golden rows that alert (not after drift)"
    )
    max_features_lost: float = Field(
        default=0.1, ge=0, le=1, description="gate: share of the features that became constant (not after drift)"
    )
    max_scale_change: float = Field(
        default=10.0, gt=1, description="gate: factor by which the spread of half the features changed (not after drift)"
    )
    max_bundle_mb: float = Field(default=64.0, gt=0, description="gate: size of the bundle")
    max_row_us: float = Field(default=5000.0, gt=0, description="gate: microseconds to score one row")
    auroc_tolerance: float = Field(
        default=0.05, ge=0, le=1, description="gate: the challenger's AUROC may fall so far behind the champion's"
    )

    @model_validator(mode="after")
    def _go_together(self) -> TrainSettings:
        if (self.alerts_per_day is None) != (self.rows_per_day is None):
            raise ValueError("alerts_per_day and rows_per_day go together")
        if self.jobs_url is not None and self.tracking_uri is None:
            raise ValueError("VIGIL_TRAIN_JOBS_URL needs VIGIL_TRAIN_TRACKING_URI: the MLflow that its jobs register in")
        if not 0 < self.budget < 0.5:
            raise ValueError(f"{self.alerts_per_day} alerts in {self.rows_per_day} rows a day: half of all would alert")
        return self

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make these settings in another process, as far as they are not the defaults. Another cluster has
        its own way to MLflow."""
        own = {"jobs_url", "tracking_uri"} if self.jobs_url else set[str]()
        told = self.model_dump(mode="json", exclude_unset=True, exclude=own, exclude_none=True)
        return {f"VIGIL_TRAIN_{name.upper()}": str(value) for name, value in told.items()}

    @property
    def budget(self) -> float:
        """The share of rows that may alert."""
        return self.alerts_per_day / self.rows_per_day if self.alerts_per_day and self.rows_per_day else self.alert_rate
