"""DriftSettings: everything that drift monitoring reads from the environment (`VIGIL_DRIFT_*`), once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Mode = Literal["observe", "suggest", "auto"]


class DriftSettings(BaseSettings):
    """When a window is drift, and what the governor may do about it. The window size is the champion reference's own."""

    model_config = SettingsConfigDict(env_prefix="VIGIL_DRIFT_", frozen=True, extra="forbid")

    home: Path = Field(default=Path(".vigil"), description="folder of captured rows and of the monitor's state")
    tracking_uri: str = Field(default="http://127.0.0.1:5000", description="MLflow server")
    model_name: str = Field(default="vigil", description="registered model to watch")
    dashboard_url: str = Field(default="http://127.0.0.1:8265", description="Ray dashboard: where retraining jobs are submitted")
    serve_application: str = Field(default="vigil", description="Serve application whose replicas are told of a promotion")
    mode: Mode = Field(default="auto", description="observe: report; suggest: also open episodes; auto: retrain")
    alpha: float = Field(
        default=0.01, gt=0, lt=1, description="family-wise significance of the KS tests of one window (Bonferroni)"
    )
    retrain_rows: int = Field(default=2000, ge=100, description="captured rows since the drift began that a retraining waits for")
    cooldown_windows: int = Field(default=10, ge=0, description="windows after a retraining in which no episode opens")
    cooldown_s: float = Field(default=3600, ge=0, description="seconds after a retraining in which no episode opens")
    clear_windows: int = Field(default=3, ge=1, description="quiet windows that close an episode")
    max_retrains_per_day: int = Field(default=4, ge=0, description="retraining budget; 0 never retrains")
    max_retrain_seconds_per_day: float = Field(
        default=3600, ge=0, description="cost budget: seconds of retraining in 24 hours after which none begins"
    )
    schedule_hours: float = Field(default=0, ge=0, description="retrain also without drift, so long after the last; 0: never")
    schedule_rows: int = Field(default=0, ge=0, description="the same after so many new rows; 0: never")
    window_s: float = Field(
        default=3600, ge=0, description="a window with a fifth of its rows is judged after so long; 0: only full ones"
    )
    keep_windows: int = Field(default=500, ge=10, description="captured windows kept on disk")
    shadow_rows: int = Field(
        default=0, ge=0, description="rows that a retrained challenger must first score in the shadow of the champion; 0: none"
    )
    canary_steps: str = Field(
        default="", description='steps of a canary before a retrained challenger is promoted, as "5:60,25:60" (percent:seconds)'
    )
    canary_requests: int = Field(default=20, ge=1, description="requests that a canary must have answered before it is promoted")
    canary_alert_band: float = Field(default=4.0, gt=1, description="alert rate of a canary, as a multiple of its budget")
    disagreement_polls: int = Field(default=3, ge=1, description="polls of 2 s after which a replica that lags is an alert")
    state_url: str = Field(default="", description="s3:// URL of the monitor's state; empty: in the home")
    backend: Literal["ray", "github"] = Field(default="ray", description="who retrains: a Ray job here, or a GitHub workflow")
    github_url: str = Field(default="https://api.github.com", description="GitHub's API")
    github_repository: str = Field(default="", description="owner/name whose workflow retrains")
    github_workflow: str = Field(default="", description="file of the workflow to dispatch; empty: a repository_dispatch")
    github_ref: str = Field(default="main", description="branch of a workflow_dispatch")
    github_token: SecretStr = Field(default=SecretStr(""), description="token that may dispatch")
    retrain_timeout_s: float = Field(default=900, gt=0, description="a retraining that takes longer has failed")
