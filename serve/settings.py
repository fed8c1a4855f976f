"""ServeSettings: everything that serving reads from the environment (`VIGIL_SERVE_*`), once."""

from __future__ import annotations

import math
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

KEPT_BYTES = 4 * 1024 * 1024
HAPROXY_RESERVE_BYTES = 1024  # of its buffer HAProxy keeps so much for rewriting headers


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
    max_pending_bytes: int = Field(
        default=8 * 2**20,
        ge=1024,
        description="bytes of bodies that a replica reads and scores at once; more get what a full queue gives",
    )
    overload_status: int = Field(default=503, description="what a request gets that finds the queue full")
    retry_after_s: float = Field(default=1.0, ge=0, description="Retry-After of such an answer")
    request_timeout_s: float = Field(
        default=30.0, gt=0, description="longest time a request may take; a client asks for less with x-request-timeout-seconds"
    )
    body_timeout_s: float = Field(default=10.0, gt=0, description="longest time in which a client may send its body")
    header_timeout_s: int = Field(default=15, ge=1, description="longest time in which a client may send its headers (HAProxy)")
    haproxy_metrics: bool = Field(
        default=False,
        description="Ray's own metrics of each request (serve_num_http_requests): a quarter of a core under load",
    )
    max_header_bytes: int = Field(default=16_384, ge=2048, description="largest request line and headers together")
    cpus_per_replica: float = Field(default=0.25, gt=0, description="CPUs that Ray reserves for a replica")
    poll_s: float = Field(default=2.0, gt=0, description="how often a replica looks at the champion alias")
    keep_previous_s: float = Field(default=3600.0, ge=0, description="how long a former model stays in memory, to go back to")
    shadow_rate: float = Field(
        default=0.1, ge=0, le=1, description="share of requests that the challenger scores as well; 0: none"
    )
    max_body_bytes: int = Field(default=8 * 2**20, ge=1024, description="largest request body")
    max_rows: int = Field(default=50_000, ge=1, description="most rows in one request")
    score_threads: int = Field(default=1, ge=1, description="threads that one large request is scored on")
    reasons: int = Field(default=3, ge=0, description="features named as reasons for an anomaly")
    auth: Literal["auto", "required", "off"] = Field(
        default="auto", description="who may call; auto asks for a key unless `host` is a loopback address"
    )
    keys_file: Path | None = Field(default=None, description="hashes of the API keys; default: keys.json in the home")
    oidc_issuer: str | None = Field(default=None, description="OpenID Connect issuer whose bearer tokens are accepted")
    oidc_audience: str | None = Field(default=None, description="audience that such a token must name")
    oidc_jwks_url: str | None = Field(default=None, description="its keys; default: as the issuer's discovery document says")
    oidc_operator: str | None = Field(
        default=None, description="scope, role or group whose tokens may do what operators may; none: no token may"
    )
    hosts: str = Field(
        default="",
        description="names of this service, separated by commas, whose pages may act on it while it asks for no key; "
        "addresses and localhost always may",
    )
    links: dict[str, str] = Field(default={}, description='what the console links to: JSON {"Grafana": "https://.."}')
    capture_rate: float = Field(default=1.0, ge=0, le=1, description="share of requests whose rows go to the drift monitor")
    capture_rows: int = Field(
        default=20_000, ge=1, description="rows a replica holds for the monitor; the oldest are dropped beyond that"
    )
    flush_s: float = Field(default=1.0, gt=0, description="how often a replica hands its rows to the monitor")
    log_encoding: Literal["JSON", "TEXT"] = Field(default="JSON", description="form of the logs of Serve and of Vigil in it")
    request_log_rate: float = Field(
        default=0.0, ge=0, le=1, description="share of requests that get a line in logs/requests of the home; 0: no request log"
    )
    traces_endpoint: str = Field(
        default="", description="collector of OpenTelemetry traces by OTLP/HTTP, as http://collector:4318; empty: no traces"
    )
    traces_rate: float = Field(
        default=0.1, ge=0, le=1, description="share of requests that are traced, of those whose caller sends no traceparent"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.oidc_issuer) != bool(self.oidc_audience):
            raise ValueError("oidc_issuer and oidc_audience go together: a token for another audience must not open this door")
        for url in (self.oidc_issuer, self.oidc_jwks_url):
            if url and not secure(url):
                raise ValueError(f"{url} must begin with https://: keys that travel in the clear can be exchanged")
        return self

    stream_source: str = Field(default="", description="stream to score on the cluster: file:DIR or kinesis:NAME; empty: none")
    stream_sinks: str = Field(default="", description="where results go, as of `vigil stream consume`, separated by commas")
    stream_dead_letters: str = Field(default="", description="file:DIR for records that cannot be scored")
    stream_leases: str = Field(default="", description="file:DIR or dynamodb:TABLE; empty: beside the output")
    stream_consumers: int = Field(default=1, ge=1, description="consumers, which share the shards")

    @field_validator("overload_status")
    @classmethod
    def _overload(cls, value: int) -> int:  # not a Literal: from the environment it comes as text
        if value not in (429, 503):
            raise ValueError("must be 429 or 503")
        return value

    @field_validator("links")
    @classmethod
    def _links(cls, value: dict[str, str]) -> dict[str, str]:
        for url in value.values():
            if urlsplit(url).scheme not in ("http", "https"):
                raise ValueError(f"{url} must begin with https:// or http://")
        return value

    @property
    def auth_required(self) -> bool:
        """Whether a caller must show a key or a token."""
        return self.auth == "required" or (self.auth == "auto" and not _loopback(self.host))

    @property
    def key_file(self) -> Path:
        return self.keys_file or self.home / "keys.json"

    def application(self, drift: dict[str, object]) -> dict[str, object]:
        """The Serve configuration (`ray.serve.schema.ServeDeploySchema`) of the platform; `drift` are the monitor's args.

        The model version is in neither args nor user_config: a change of either would restart or unroute replicas.
        """
        elsewhere = {"port", "min_replicas", "max_replicas", "target_ongoing_requests", "max_ongoing_requests",
                     "max_queued_requests", "overload_status", "retry_after_s", "request_timeout_s", "header_timeout_s",
                     "haproxy_metrics", *(name for name in type(self).model_fields if name.startswith("stream_")),
                     "cpus_per_replica", "poll_s", "capture_rate", "log_encoding"}  # fmt: skip
        detector = {
            "name": "Detector",
            "max_ongoing_requests": self.max_ongoing_requests,
            "max_queued_requests": self.max_queued_requests,
            "backpressure_config": {"status_code": self.overload_status, "retry_after_s": self.retry_after_s},
            "autoscaling_config": {
                "min_replicas": self.min_replicas,
                "max_replicas": max(self.min_replicas, self.max_replicas),
                "target_ongoing_requests": self.target_ongoing_requests,
                "downscale_delay_s": 300,
            },
            "ray_actor_options": {"num_cpus": self.cpus_per_replica},
            "user_config": {"poll_s": self.poll_s, "capture_rate": self.capture_rate},
        }
        applications: list[dict[str, object]] = [
            {"name": "vigil", "route_prefix": "/", "import_path": "serve.app:build",
             "args": self.model_dump(mode="json", exclude=elsewhere), "deployments": [detector]},
            {"name": "drift", "route_prefix": None, "import_path": "drift.monitor:build", "args": drift},
        ]  # fmt: skip
        if self.stream_source:
            consumer = {"name": "StreamConsumer", "num_replicas": self.stream_consumers}
            applications.append({"name": "stream", "route_prefix": None, "import_path": "serve.stream_app:build",
                                 "args": self.model_dump(mode="json"), "deployments": [consumer]})  # fmt: skip
        return {
            "http_options": {"host": self.host, "port": self.port, "request_timeout_s": self.request_timeout_s},
            # At INFO the record of every request is built even where the access log is off: a tenth of a request's time.
            "logging_config": {"encoding": self.log_encoding, "log_level": "WARNING", "enable_access_log": False},
            "applications": applications,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Of every Ray process, on one machine and in a pod: how Serve's HAProxy treats clients, how malloc keeps memory.

        A request goes to a replica when its body is there, or fills the buffer: a client that is slow with a small one holds no
        slot of a replica. Serve has no setting for that, but the value of RETRY_ON is put into HAProxy's `defaults` as it is.
        The body and the matrix of a batch would be new pages for each request: what is free is kept instead.
        """
        wait_s = max(self.header_timeout_s, math.ceil(self.body_timeout_s))
        return {
            "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(self.header_timeout_s),
            "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(self.max_header_bytes + HAPROXY_RESERVE_BYTES),
            "RAY_SERVE_HAPROXY_METRICS_ENABLED": str(int(self.haproxy_metrics)),
            "RAY_SERVE_HAPROXY_RETRY_ON": f"conn-failure\n    option http-buffer-request\n    timeout http-request {wait_s}s",
            # Three checks that fail and HAProxy is started anew: at the default period nobody is served for half a minute.
            "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
            # Serve would write a replica's log a thousand lines at a time; at WARNING a line is no request, and wanted at once.
            "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
            "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES),
            "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
        }


def secure(url: str) -> bool:
    """Whether what comes from this URL cannot be exchanged on its way."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and _loopback(parts.hostname or ""))


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
