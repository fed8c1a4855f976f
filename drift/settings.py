"""DriftSettings: everything that drift monitoring reads from the environment, once.

Its variables are `VIGIL_DRIFT_*`; in vigil.yaml it is `drift:`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from vigil.room_settings import Effect, RoomSettings, setting
from vigil.settings import ModelName, home_setting, model_name_setting, tracking_uri_setting

Mode = Literal["observe", "suggest", "auto"]


class DriftSettings(RoomSettings):
    """When a window is drift, and what the governor may do about it.

    The size of a window is that of the champion's reference.
    """

    room: ClassVar[str] = "drift"
    model_config = SettingsConfigDict(
        env_prefix="VIGIL_DRIFT_",
        frozen=True,
        extra="forbid",
    )

    home: Path = home_setting("captured rows and of the monitor's state")
    tracking_uri: str = tracking_uri_setting()
    model_name: ModelName = model_name_setting(Effect.ROLLING, "registered model to watch")
    jobs_url: str = setting(
        "http://127.0.0.1:8265",
        Effect.ROLLING,
        "Ray job server that retrains",
        internal=True,
    )
    mode: Mode = setting(
        "auto",
        Effect.RECONFIGURE,
        "observe: report; suggest: also open episodes; auto: retrain",
    )
    alpha: float = setting(
        0.01,
        Effect.RECONFIGURE,
        "family-wise significance of the KS tests of one window (Bonferroni)",
        gt=0,
        lt=1,
    )
    retrain_rows: int = setting(
        2000,
        Effect.RECONFIGURE,
        "captured rows since the drift began that a retraining waits for",
        ge=100,
    )
    cooldown_windows: int = setting(
        10,
        Effect.RECONFIGURE,
        "windows after a retraining in which no episode opens",
        ge=0,
    )
    cooldown_s: float = setting(
        3600,
        Effect.RECONFIGURE,
        "seconds after a retraining in which no episode opens",
        ge=0,
    )
    clear_windows: int = setting(
        3,
        Effect.RECONFIGURE,
        "quiet windows that close an episode",
        ge=1,
    )
    max_retrains_per_day: int = setting(
        4,
        Effect.RECONFIGURE,
        "retraining budget; 0 never retrains",
        ge=0,
    )
    max_retrain_seconds_per_day: float = setting(
        3600,
        Effect.RECONFIGURE,
        "cost budget: seconds of retraining in 24 hours after which none begins",
        ge=0,
    )
    schedule_hours: float = setting(
        0,
        Effect.RECONFIGURE,
        "retrain also without drift, so long after the last; 0: never",
        ge=0,
    )
    schedule_rows: int = setting(
        0,
        Effect.RECONFIGURE,
        "the same after so many new rows; 0: never",
        ge=0,
    )
    window_s: float = setting(
        3600,
        Effect.RECONFIGURE,
        "a window with a fifth of its rows is judged after so long; 0: only full ones",
        ge=0,
    )
    keep_windows: int = setting(
        500,
        Effect.RECONFIGURE,
        "captured windows kept on disk",
        ge=10,
    )
    shadow_rows: int = setting(
        0,
        Effect.RECONFIGURE,
        "rows that a retrained challenger must first score in the shadow of the champion; 0: none",
        ge=0,
    )
    canary_steps: str = setting(
        "",
        Effect.RECONFIGURE,
        'steps of a canary before a retrained challenger is promoted, as "5:60,25:60" '
        "(percent:seconds)",
    )
    canary_requests: int = setting(
        20,
        Effect.RECONFIGURE,
        "requests that a canary must have answered before it is promoted",
        ge=1,
    )
    canary_alert_band: float = setting(
        4.0,
        Effect.RECONFIGURE,
        "alert rate of a canary, as a multiple of its budget",
        gt=1,
    )
    disagreement_polls: int = setting(
        3,
        Effect.RECONFIGURE,
        "polls of 2 s after which a replica that lags is an alert",
        ge=1,
    )
    captured_url: str = setting(
        "",
        Effect.ROLLING,
        "s3:// URL of captured rows; empty: in the home",
    )
    state_url: str = setting(
        "",
        Effect.ROLLING,
        "s3:// URL of the monitor's state; empty: in the home",
    )
    notify: SecretStr = setting(
        SecretStr(""),
        Effect.IN_PROCESS,
        "URLs, separated by commas, that are told of incidents: cloudevents+https://HOST/PATH, "
        "alertmanager+http://HOST:PORT, or one that apprise knows",
        secret=True,
    )
    notify_secret: SecretStr = setting(
        SecretStr(""),
        Effect.IN_PROCESS,
        "what CloudEvents about incidents are signed with (HMAC); empty: they are not signed",
        secret=True,
    )
    console_url: str = setting(
        "",
        Effect.RECONFIGURE,
        "address of the console, to which messages about incidents link; empty: they do not",
    )
    incidents_url: str = setting(
        "",
        Effect.ROLLING,
        "postgresql:// URL of the database of incidents, without a password, which PGPASSFILE "
        "has; empty: a file in the home",
    )
    keep_incidents: int = setting(
        10_000,
        Effect.ROLLING,
        "closed incidents kept, the latest",
        ge=100,
    )
    backend: Literal["ray", "github"] = setting(
        "ray",
        Effect.RECONFIGURE,
        "who retrains: a Ray job here, or a GitHub workflow",
    )
    github_url: str = setting("https://api.github.com", Effect.RECONFIGURE, "GitHub's API")
    github_repository: str = setting("", Effect.RECONFIGURE, "owner/name whose workflow retrains")
    github_workflow: str = setting(
        "",
        Effect.RECONFIGURE,
        "file of the workflow to dispatch; empty: a repository_dispatch",
    )
    github_ref: str = setting("main", Effect.RECONFIGURE, "branch of a workflow_dispatch")
    github_token: SecretStr = setting(
        SecretStr(""),
        Effect.IN_PROCESS,
        "token that may dispatch",
        secret=True,
    )
    retrain_timeout_s: float = setting(
        900,
        Effect.RECONFIGURE,
        "a retraining that takes longer has failed",
        gt=0,
    )
    incident_alerts: int = setting(
        3,
        Effect.RECONFIGURE,
        "alerts among the last rows of an entity, or of all rows without entities, that open an "
        "incident",
        ge=1,
        le=1000,
    )
    incident_window_rows: int = setting(
        10,
        Effect.RECONFIGURE,
        "how many the last rows are for that",
        ge=1,
        le=10_000,
    )
    incident_quiet_s: float = setting(
        300,
        Effect.RECONFIGURE,
        "seconds without an alert that close an incident, or the time of `incidentWindowRows` rows "
        "where that is longer; entities whose alerts begin so close together share one",
        gt=0,
        le=604_800,
    )
    incident_min_length_s: float = setting(
        0,
        Effect.RECONFIGURE,
        "an incident that is shorter is told to nobody",
        ge=0,
    )
    incident_grade_step: float = setting(
        0.2,
        Effect.RECONFIGURE,
        "rise of the grade of an incident that is told",
        gt=0,
        le=1,
    )
    incident_min_deviation: float = setting(
        0.2,
        Effect.RECONFIGURE,
        "rows whose features differ from the expected value by a smaller share of it open nothing",
        ge=0,
    )
    incident_feature_deviations: dict[str, float] = setting(
        {},
        Effect.RECONFIGURE,
        'the same by feature: JSON {"latency": 0.5}',
    )
    incident_absolute_deviations: dict[str, float] = setting(
        {},
        Effect.RECONFIGURE,
        'least difference in the unit of a feature: JSON {"latency": 30}',
    )
    incident_directions: dict[str, Literal["up", "down"]] = setting(
        {},
        Effect.RECONFIGURE,
        'direction in which a feature is a reason, where only one is: JSON {"free_disk": "down"}',
    )
    maintenance_calendar: str = setting(
        "",
        Effect.RECONFIGURE,
        "iCalendar file or URL, in whose events no incident opens; empty: none",
    )
    maintenance_poll_s: float = setting(
        900,
        Effect.RECONFIGURE,
        "how often the calendar is read",
        ge=10,
    )

    @field_validator("incident_feature_deviations", "incident_absolute_deviations")
    @classmethod
    def _check_deviations(cls, value: dict[str, float]) -> dict[str, float]:
        for feature, deviation in value.items():
            if not 0 <= deviation < math.inf:
                raise ValueError(f"{feature}: must be 0 or more, not {deviation}")
        return value

    @model_validator(mode="after")
    def _alerts_fit_in_their_rows(self) -> Self:
        if self.incident_alerts > self.incident_window_rows:
            raise ValueError(
                "incidentAlerts must be at most incidentWindowRows, of which they are a part"
            )
        return self

    @field_validator("notify")
    @classmethod
    def _names_channels(cls, urls: SecretStr) -> SecretStr:
        if urls.get_secret_value():
            from drift.incidents.channels.opening import open_channels  # libraries of services

            open_channels(urls.get_secret_value())
        return urls

    @field_validator("incidents_url")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and parts.scheme != "postgresql":
            raise ValueError("it must be postgresql://USER@HOST/DATABASE")
        if parts.password:
            raise ValueError("a password belongs into the file that PGPASSFILE names")
        return url

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.backend == "github" and not self.github_repository:
            raise ValueError(
                "backend github needs githubRepository: OWNER/NAME, whose workflow retrains"
            )
        return self
