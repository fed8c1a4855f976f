"""ServeSettings: what serving and streams are told (`VIGIL_SERVE_*`, `serve:` in vigil.yaml)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from serve.addresses import is_loopback, is_secure_url
from vigil.room_settings import Effect, RoomSettings, setting
from vigil.settings import ModelName, home_setting, model_name_setting, tracking_uri_setting


class ServeSettings(RoomSettings):
    """The scoring service: what it loads, what it accepts, how it scales; and its streams."""

    room: ClassVar[str] = "serve"
    model_config = SettingsConfigDict(
        env_prefix="VIGIL_SERVE_",
        frozen=True,
        extra="forbid",
    )

    home: Path = home_setting("the bundle cache")
    tracking_uri: str = tracking_uri_setting()
    model_name: ModelName = model_name_setting(
        Effect.ROLLING, "registered model whose champion is served"
    )
    host: str = setting("127.0.0.1", Effect.SECOND_CLUSTER, "address to listen on", internal=True)
    port: int = setting(
        8000,
        Effect.SECOND_CLUSTER,
        "HTTP port",
        ge=1,
        le=65_535,
        internal=True,
    )
    grpc_port: int = setting(
        0,
        Effect.SECOND_CLUSTER,
        "port of the Open Inference Protocol over gRPC; 0: off",
        ge=0,
        le=65_535,
    )
    min_replicas: int = setting(2, Effect.IN_PROCESS, "replicas at rest", ge=1)
    max_replicas: int = setting(4, Effect.IN_PROCESS, "replicas under load", ge=1)
    target_ongoing_requests: float = setting(
        5,
        Effect.IN_PROCESS,
        "autoscaling: requests in flight per replica",
        gt=0,
    )
    downscale_delay_s: float = setting(
        300.0,
        Effect.IN_PROCESS,
        "autoscaling: how long the load is low before a replica or stream consumer goes",
        ge=0,
    )
    max_ongoing_requests: int = setting(
        64,
        Effect.RECONFIGURE,
        "requests that a replica works on at once",
        ge=1,
    )
    max_queued_requests: int = setting(
        512,
        Effect.RECONFIGURE,
        "requests that wait per replica; more get 503 with Retry-After",
        ge=1,
    )
    max_pending_bytes: int = setting(
        8 * 2**20,
        Effect.RECONFIGURE,
        "bytes of bodies that a replica reads and scores at once; more get what a full queue gives",
        ge=1024,
    )
    overload_status: int = setting(
        503,
        Effect.RECONFIGURE,
        "what a request gets that finds the queue full",
    )
    retry_after_s: float = setting(1.0, Effect.RECONFIGURE, "Retry-After of such an answer", ge=0)
    request_timeout_s: float = setting(
        30.0,
        Effect.SECOND_CLUSTER,
        "longest time a request may take (one whose body is small ends by body_timeout_s and "
        "context_timeout_s); a client asks for less with x-request-timeout-seconds",
        gt=0,
    )
    body_timeout_s: float = setting(
        10.0,
        Effect.SECOND_CLUSTER,
        "longest time in which a client may send its body",
        gt=0,
    )
    header_timeout_s: int = setting(
        15,
        Effect.SECOND_CLUSTER,
        "longest time in which a client may send its headers (HAProxy)",
        ge=1,
    )
    haproxy_metrics: bool = setting(
        False,
        Effect.SECOND_CLUSTER,
        "Ray's own metrics of each request (serve_num_http_requests): "
        "a quarter of a core under load",
    )
    max_header_bytes: int = setting(
        16_384,
        Effect.SECOND_CLUSTER,
        "largest request line and headers together",
        ge=2048,
    )
    cpus_per_replica: float = setting(
        0.25,
        Effect.ROLLING,
        "CPUs that Ray reserves for a replica",
        gt=0,
    )
    poll_s: float = setting(
        30.0,
        Effect.RECONFIGURE,
        "how often a replica that is told of no move looks at the champion alias",
        gt=0,
    )
    keep_previous_s: float = setting(
        3600.0,
        Effect.RECONFIGURE,
        "how long a former model stays in memory, to go back to",
        ge=0,
    )
    shadow_rate: float = setting(
        0.1,
        Effect.RECONFIGURE,
        "share of requests that the challenger scores as well; 0: none",
        ge=0,
        le=1,
    )
    max_body_bytes: int = setting(8 * 2**20, Effect.RECONFIGURE, "largest request body", ge=1024)
    max_rows: int = setting(50_000, Effect.RECONFIGURE, "most rows in one request", ge=1)
    micro_batch_rows: int = setting(
        256,
        Effect.RECONFIGURE,
        "most rows of a stream that are scored together",
        ge=1,
    )
    micro_batch_ms: float = setting(
        0.0,
        Effect.RECONFIGURE,
        "how long a row of a stream waits for others (ms); 0: it is scored with what has come",
        ge=0,
    )
    score_threads: int = setting(
        1,
        Effect.RECONFIGURE,
        "threads that one large request is scored on",
        ge=1,
    )
    reasons: int = setting(3, Effect.RECONFIGURE, "features named as reasons for an anomaly", ge=0)
    auth: Literal["auto", "required", "off"] = setting(
        "auto",
        Effect.ROLLING,
        "who may call; auto asks for a key unless `host` is a loopback address and gRPC is off",
    )
    keys_file: Path | None = setting(
        None,
        Effect.ROLLING,
        "hashes of the API keys; default: keys.json in the home",
    )
    oidc_issuer: str | None = setting(
        None,
        Effect.ROLLING,
        "OpenID Connect issuer whose bearer tokens are accepted",
    )
    oidc_audience: str | None = setting(
        None,
        Effect.ROLLING,
        "audience that such a token must name",
    )
    oidc_jwks_url: str | None = setting(
        None,
        Effect.ROLLING,
        "its keys; default: as the issuer's discovery document says",
    )
    oidc_operator: str | None = setting(
        None,
        Effect.ROLLING,
        "scope, role or group whose tokens may do what operators may; none: no token may",
    )
    hosts: str = setting(
        "",
        Effect.RECONFIGURE,
        "names of this service, separated by commas, whose pages may act on it while it asks for "
        "no key; addresses and localhost always may",
    )
    links: dict[str, str] = setting(
        {},
        Effect.RECONFIGURE,
        'what the console links to: JSON {"Grafana": "https://.."}',
    )
    capture_rate: float = setting(
        1.0,
        Effect.RECONFIGURE,
        "share of requests whose rows go to the drift monitor",
        ge=0,
        le=1,
    )
    capture_rows: int = setting(
        20_000,
        Effect.RECONFIGURE,
        "rows a replica holds for the monitor; the oldest are dropped beyond that",
        ge=1,
    )
    flush_s: float = setting(
        1.0,
        Effect.RECONFIGURE,
        "how often a replica hands its rows to the monitor",
        gt=0,
    )
    log_encoding: Literal["JSON", "TEXT"] = setting(
        "JSON",
        Effect.ROLLING,
        "form of the logs of Serve and of Vigil in it",
    )
    request_log_rate: float = setting(
        0.0,
        Effect.RECONFIGURE,
        "share of requests that get a line in logs/requests of the home; 0: no request log",
        ge=0,
        le=1,
    )
    traces_endpoint: str = setting(
        "",
        Effect.ROLLING,
        "collector of OpenTelemetry traces by OTLP/HTTP, as http://collector:4318; "
        "empty: no traces",
    )
    traces_rate: float = setting(
        0.1,
        Effect.RECONFIGURE,
        "share of requests that are traced, of those whose caller sends no traceparent",
        ge=0,
        le=1,
    )

    context_entities: int = setting(
        100_000,
        Effect.ROLLING,
        "entities of which the last rows are kept, for models that look back in time; of more the "
        "one that is silent longest is forgotten",
        ge=1,
    )
    context_mb: int = setting(
        512,
        Effect.ROLLING,
        "memory for these rows (MiB), over all shards of the context; of a stream for each shard",
        ge=1,
    )
    context_shards: int = setting(
        2, Effect.ROLLING, "Ray actors that share the entities", ge=1, le=256
    )
    context_late_s: float = setting(
        60.0,
        Effect.ROLLING,
        "how much older than the last row of its entity a row may be to be sorted in",
        ge=0,
    )
    context_timeout_s: float = setting(
        1.0,
        Effect.RECONFIGURE,
        "how long a request waits for the context of its rows, before they are answered as warming",
        gt=0,
    )

    stream_source: str = setting(
        "",
        Effect.ROLLING,
        "stream to score on the cluster: file:DIR or kinesis:NAME; empty: none",
    )
    stream_sinks: str = setting(
        "",
        Effect.ROLLING,
        "where results go, as of `vigil stream consume`, separated by commas",
    )
    stream_dead_letters: str = setting(
        "",
        Effect.ROLLING,
        "file:DIR for records that cannot be scored",
    )
    stream_leases: str = setting(
        "",
        Effect.ROLLING,
        "file:DIR or dynamodb:TABLE; empty: beside the output",
    )
    stream_webhook_secret: SecretStr = setting(
        SecretStr(""),
        Effect.ROLLING,
        "what a webhook's messages are signed with (HMAC)",
        secret=True,
    )
    stream_consumers: int = setting(
        1,
        Effect.IN_PROCESS,
        "consumers at rest, which share the shards",
        ge=1,
    )
    stream_max_consumers: int = setting(
        4,
        Effect.IN_PROCESS,
        "consumers where the stream is behind; more than it has shards are idle",
        ge=1,
    )
    stream_lag: float = setting(
        60_000,
        Effect.IN_PROCESS,
        "unread part of a shard beyond which a consumer is added: "
        "ms of Kinesis, bytes of a file log",
        gt=0,
    )
    stream_batch: int = setting(1000, Effect.ROLLING, "most records in one request", ge=1)
    stream_checkpoint_s: float = setting(
        1.0,
        Effect.ROLLING,
        "seconds between checkpoints of a shard",
        ge=0,
    )
    stream_share_s: float = setting(
        2.0,
        Effect.ROLLING,
        "how often shards are looked for and shared out",
        gt=0,
    )
    stream_idle_s: float = setting(
        0.1,
        Effect.ROLLING,
        "pause after a round in which no shard had a record",
        gt=0,
    )
    stream_remember: int = setting(
        250_000,
        Effect.ROLLING,
        "ids per shard by which a record that comes again is known",
        ge=1,
    )

    @model_validator(mode="after")
    def _check_oidc(self) -> Self:
        if bool(self.oidc_issuer) != bool(self.oidc_audience):
            raise ValueError(
                "oidc_issuer and oidc_audience go together: "
                "a token for another audience must not open this door"
            )
        for url in (self.oidc_issuer, self.oidc_jwks_url):
            if url and not is_secure_url(url):
                raise ValueError(
                    f"{url} must begin with https://: "
                    "keys that travel in the clear can be exchanged"
                )
        return self

    @field_validator("overload_status")
    @classmethod
    def _check_overload_status(cls, value: int) -> int:
        # Not a Literal: from the environment it comes as text.
        if value not in (429, 503):
            raise ValueError("must be 429 or 503")
        return value

    @field_validator("links")
    @classmethod
    def _check_links(cls, value: dict[str, str]) -> dict[str, str]:
        for url in value.values():
            if urlsplit(url).scheme not in ("http", "https"):
                raise ValueError(f"{url} must begin with https:// or http://")
        return value

    @property
    def auth_required(self) -> bool:
        """Whether a caller must show a key or a token."""
        if self.auth == "auto":
            # Serve's gRPC servers listen on every interface, whatever `host` is.
            return not is_loopback(self.host) or self.grpc_port > 0
        return self.auth == "required"

    @property
    def max_consumers(self) -> int:
        """Consumers of the stream where it is behind; none without a stream."""
        if not self.stream_source:
            return 0
        return max(self.stream_consumers, self.stream_max_consumers)

    @property
    def key_file(self) -> Path:
        """The file of the API keys."""
        return self.keys_file or self.home / "keys.json"
