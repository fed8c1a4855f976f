"""Settings of training: all that it reads from `VIGIL_TRAIN_*` and `train:` in vigil.yaml."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator
from pydantic_settings import SettingsConfigDict

from vigil.room_settings import Effect, RoomSettings, setting
from vigil.settings import ModelName, model_name_setting


class TrainSettings(RoomSettings):
    """How a model is fitted, judged and registered."""

    room: ClassVar[str] = "train"
    model_config = SettingsConfigDict(
        env_prefix="VIGIL_TRAIN_",
        frozen=True,
        extra="forbid",
    )

    signing_key: str | None = setting(
        None,
        Effect.IN_PROCESS,
        "key that signs registered bundles: a file of `vigil keys signing`, or awskms:///KEY",
    )
    tracking_uri: str | None = setting(
        None,
        Effect.IN_PROCESS,
        "MLflow server; default: the running platform's, else the local database",
        internal=True,
    )
    model_name: ModelName = model_name_setting(
        Effect.IN_PROCESS, "registered model: one per detector"
    )
    revision: str = setting(
        "",
        Effect.IN_PROCESS,
        "git commit of the code, for the run; default: the checkout's",
    )
    jobs_url: str | None = setting(
        None,
        Effect.IN_PROCESS,
        "Ray job server of another cluster to train on (http://HOST:8265), with `tracking_uri` "
        "for its MLflow; default: the running platform's, else this machine",
        internal=True,
    )
    n_estimators: int = setting(
        100,
        Effect.IN_PROCESS,
        "trees in the merged forest",
        ge=1,
        le=10_000,
    )
    max_samples: int = setting(
        256,
        Effect.IN_PROCESS,
        "rows each tree sees; every shard needs at least so many",
        ge=2,
    )
    max_features: float = setting(
        1.0,
        Effect.IN_PROCESS,
        "share of the features each tree sees",
        gt=0,
        le=1,
    )
    seed: int = setting(
        0,
        Effect.IN_PROCESS,
        "seed; a run repeats for one seed and one number of workers",
        ge=0,
    )
    workers: int = setting(
        2,
        Effect.IN_PROCESS,
        "Ray Train workers",
        ge=1,
    )
    shard_rows: int = setting(
        1000,
        Effect.IN_PROCESS,
        "rows of a worker's shard, at least: a smaller table is fitted whole, by one worker",
        ge=2,
    )
    refit: Literal["small", "always", "never"] = setting(
        "small",
        Effect.IN_PROCESS,
        "what has passed the gate is fitted again, on the held-out rows too: of tables of fewer "
        "than two shards, of all, or never",
    )
    cpus_per_worker: float = setting(
        0.5,
        Effect.IN_PROCESS,
        "CPUs that Ray reserves for one worker",
        gt=0,
    )
    alert_rate: float = setting(
        0.01,
        Effect.IN_PROCESS,
        "alert budget: share of normal rows that may alert",
        gt=0,
        lt=0.5,
    )
    entity_threshold: float = setting(
        0.02,
        Effect.IN_PROCESS,
        "with --entity: how far the threshold of an entity may be from the model's, as its own "
        "scores ask for; 0: one threshold for all",
        ge=0,
        le=0.5,
    )
    alerts_per_day: float | None = setting(
        None,
        Effect.IN_PROCESS,
        "alert budget at an expected traffic of `rows_per_day`",
        gt=0,
    )
    rows_per_day: float | None = setting(
        None,
        Effect.IN_PROCESS,
        "expected traffic; with `alerts_per_day` only",
        gt=0,
    )
    label_goal: Literal["f_beta", "precision_at_k"] = setting(
        "f_beta",
        Effect.IN_PROCESS,
        "where there are labels: the threshold of the best F-beta, or of the k highest scores",
    )
    beta: float = setting(
        1.0,
        Effect.IN_PROCESS,
        "F-beta: recall counts so much more than precision",
        gt=0,
    )
    alerts_k: int = setting(
        100,
        Effect.IN_PROCESS,
        "precision at k: alerts among the calibration rows",
        ge=1,
    )
    holdout: float = setting(
        0.2,
        Effect.IN_PROCESS,
        "share of the rows kept from the fit for calibration and evaluation",
        gt=0,
        lt=0.9,
    )
    sample_rows: int = setting(
        100_000,
        Effect.IN_PROCESS,
        "most rows kept in memory: a random sample to fit on, and as many of the latest",
        ge=1000,
    )
    window_rows: int = setting(
        500,
        Effect.IN_PROCESS,
        "rows in one drift window; the reference is calibrated on blocks of this size",
        ge=50,
    )
    drift_budget: float = setting(
        1.0,
        Effect.IN_PROCESS,
        "false drift episodes per 1000 windows that the reference's floors are made for",
        gt=0,
        le=100,
    )
    reference_rows: int = setting(
        10_000,
        Effect.IN_PROCESS,
        "most rows the drift reference keeps",
        ge=200,
    )
    alert_band: float = setting(
        4.0,
        Effect.IN_PROCESS,
        "gate: alert rate on the held-out rows, as a multiple of the budget, at most",
        gt=1,
    )
    min_planted_auroc: float = setting(
        0.7,
        Effect.IN_PROCESS,
        "gate: AUROC of planted anomalies, at least",
        ge=0.5,
        le=1,
    )
    max_calibration_error: float = setting(
        0.5,
        Effect.IN_PROCESS,
        "gate: share of the budget by which the alert rate on calibration rows may miss its own",
        gt=0,
    )
    min_seed_agreement: float = setting(
        0.5,
        Effect.IN_PROCESS,
        "gate: rank correlation with a forest of another seed, at least",
        ge=-1,
        le=1,
    )
    min_rank_agreement: float = setting(
        0.3,
        Effect.IN_PROCESS,
        "gate: rank correlation with the champion's scores, at least (not after drift)",
        ge=-1,
        le=1,
    )
    captured_weight: float = setting(
        1.0,
        Effect.IN_PROCESS,
        "retraining: captured rows for each row of the baseline that is fitted on",
        gt=0,
    )
    min_golden_recall: float = setting(
        0.5,
        Effect.IN_PROCESS,
        "gate: share of the champion's golden anomalies found, at least (not after drift)",
        ge=0,
        le=1,
    )
    max_golden_alerts: float = setting(
        0.25,
        Effect.IN_PROCESS,
        "gate: share of the champion's normal golden rows that alert (not after drift)",
        ge=0,
        le=1,
    )
    max_features_lost: float = setting(
        0.1,
        Effect.IN_PROCESS,
        "gate: share of the features that became constant (not after drift)",
        ge=0,
        le=1,
    )
    max_scale_change: float = setting(
        10.0,
        Effect.IN_PROCESS,
        "gate: factor by which the spread of half the features changed (not after drift)",
        gt=1,
    )
    max_bundle_mb: float = setting(
        64.0,
        Effect.IN_PROCESS,
        "gate: size of the bundle",
        gt=0,
    )
    max_row_us: float = setting(
        5000.0,
        Effect.IN_PROCESS,
        "gate: microseconds to score one row",
        gt=0,
    )
    auroc_tolerance: float = setting(
        0.05,
        Effect.IN_PROCESS,
        "gate: the challenger's AUROC may fall so far behind the champion's",
        ge=0,
        le=1,
    )

    @model_validator(mode="after")
    def _check_fields_together(self) -> TrainSettings:
        if (self.alerts_per_day is None) != (self.rows_per_day is None):
            raise ValueError("alerts_per_day and rows_per_day go together")
        if self.jobs_url is not None and self.tracking_uri is None:
            raise ValueError(
                "VIGIL_TRAIN_JOBS_URL needs VIGIL_TRAIN_TRACKING_URI: "
                "the MLflow that its jobs register in"
            )
        if not 0 < self.budget < 0.5:
            raise ValueError(
                f"{self.alerts_per_day} alerts in {self.rows_per_day} rows a day: "
                "half of all would alert"
            )
        return self

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make these settings in another process, as far as they were set.

        Another cluster has its own way to MLflow.
        """
        own = {"jobs_url", "tracking_uri"} if self.jobs_url else set[str]()
        values = self.model_dump(
            mode="json",
            exclude_unset=True,
            exclude=own,
            exclude_none=True,
        )
        return {self.variable(name): str(value) for name, value in values.items()}

    @property
    def budget(self) -> float:
        """The share of rows that may alert."""
        if self.alerts_per_day and self.rows_per_day:
            return self.alerts_per_day / self.rows_per_day
        return self.alert_rate
