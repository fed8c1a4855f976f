"""ServeSettings: everything that serving reads from the environment (`VIGIL_SERVE_*`), once."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServeSettings(BaseSettings):
    """The scoring service: what it loads, what it accepts, how it scales."""

    model_config = SettingsConfigDict(env_prefix="VIGIL_SERVE_", frozen=True, extra="forbid")

    home: Path = Field(default=Path(".vigil"), description="folder of the bundle cache")
    tracking_uri: str = Field(default="http://127.0.0.1:5000", description="MLflow server")
    model_name: str = Field(default="vigil", description="registered model whose champion is served")
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=1, le=65_535, description="HTTP port")
    min_replicas: int = Field(default=2, ge=1, description="replicas at rest")
    max_replicas: int = Field(default=4, ge=1, description="replicas under load")
    target_ongoing_requests: float = Field(default=5, gt=0, description="autoscaling: requests in flight per replica")
    max_ongoing_requests: int = Field(default=64, ge=1, description="requests that a replica works on at once")
    max_queued_requests: int = Field(
        default=512, ge=1, description="requests that wait per replica; more get 503 with Retry-After"
    )
    cpus_per_replica: float = Field(default=0.25, gt=0, description="CPUs that Ray reserves for a replica")
    poll_s: float = Field(default=2.0, gt=0, description="how often a replica looks at the champion alias")
    max_body_bytes: int = Field(default=8 * 2**20, ge=1024, description="largest request body")
    max_rows: int = Field(default=50_000, ge=1, description="most rows in one request")
    score_threads: int = Field(default=1, ge=1, description="threads that one large request is scored on")
    reasons: int = Field(default=3, ge=0, description="features named as reasons for an anomaly")
    capture_rate: float = Field(default=1.0, ge=0, le=1, description="share of requests whose rows go to the drift monitor")
    capture_rows: int = Field(
        default=20_000, ge=1, description="rows a replica holds for the monitor; the oldest are dropped beyond that"
    )
    flush_s: float = Field(default=1.0, gt=0, description="how often a replica hands its rows to the monitor")

    def application(self, drift: dict[str, object]) -> dict[str, object]:
        """The Serve configuration (`ray.serve.schema.ServeDeploySchema`) of the platform; `drift` are the monitor's args.

        The model version is in neither args nor user_config: a change of either would restart or unroute replicas.
        """
        fixed = {
            "home", "tracking_uri", "model_name", "max_body_bytes", "max_rows", "score_threads", "reasons", "capture_rows",
            "flush_s",
        }  # fmt: skip
        detector = {
            "name": "Detector",
            "max_ongoing_requests": self.max_ongoing_requests,
            "max_queued_requests": self.max_queued_requests,
            "autoscaling_config": {
                "min_replicas": self.min_replicas,
                "max_replicas": max(self.min_replicas, self.max_replicas),
                "target_ongoing_requests": self.target_ongoing_requests,
                "downscale_delay_s": 300,
            },
            "ray_actor_options": {"num_cpus": self.cpus_per_replica},
            "user_config": {"poll_s": self.poll_s, "capture_rate": self.capture_rate},
        }
        return {
            "http_options": {"host": self.host, "port": self.port},
            # At INFO the record of every request is built even where the access log is off: a tenth of a request's time.
            "logging_config": {"log_level": "WARNING", "enable_access_log": False},
            "applications": [
                {"name": "vigil", "route_prefix": "/", "import_path": "serve.app:build",
                 "args": self.model_dump(mode="json", include=fixed), "deployments": [detector]},
                {"name": "drift", "route_prefix": None, "import_path": "drift.monitor:build", "args": drift},
            ],
        }  # fmt: skip
