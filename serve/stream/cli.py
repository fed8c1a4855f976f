"""`vigil stream consume`: from the words of the command line to a running consumer."""

from __future__ import annotations

import signal
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from serve.settings import ServeSettings
from serve.stream.consumer import Consumer
from serve.stream.file_log import DeadLetters, FileLog, FileSink
from serve.stream.interfaces import Sink, Source
from serve.stream.kinesis import KinesisSink, KinesisSource
from serve.stream.leases import DynamoLeases, FileLeases, ShardLeases
from serve.stream.ownership import claim_output, source_identity
from serve.stream.records import StreamError
from serve.stream.scorer import HttpScorer, Scorer
from serve.stream.sinks import Bucket, Folder, ObjectStore, ParquetSink, Webhook
from vigil.aws import aws_client
from vigil.digests import text_digest
from vigil.home import Home
from vigil.service import Service, ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_figures, report_errors, say

FORMS = "file:DIR, kinesis:NAME, parquet:DIR, parquet:s3://BUCKET/PREFIX or webhook:URL"


def stream_client(service: str) -> Any:
    """A client that gives up on an answer while a lease still lasts."""
    return aws_client(service, timeout_s=20, max_attempts=6)


@dataclass(frozen=True)
class StreamPlace:
    """A word of the command line that names a place, `KIND:REST`."""

    word: str
    kind: str
    rest: str

    @classmethod
    def parse(cls, word: str) -> StreamPlace:
        kind, _, rest = word.partition(":")
        return cls(word, kind if rest else "", rest)

    @property
    def is_kept(self) -> bool:
        """Whether what is written there stays there, as files or objects."""
        return self.kind in ("file", "parquet")

    @property
    def folder(self) -> Path | None:
        """The folder on this machine that it is, if it is one."""
        is_folder = self.is_kept and not self.rest.startswith("s3://")
        return Path(self.rest) if is_folder else None

    def store(self) -> ObjectStore:
        """The place as a store of objects."""
        if self.rest.startswith("s3://"):
            return _bucket(self.rest)
        return Folder(Path(self.rest))


def _bucket(url: str) -> Bucket:
    parts = urlsplit(url)
    client = stream_client("s3")
    return Bucket(client, parts.netloc, parts.path)


def source_of(name: str) -> Source:
    """`file:DIR` or `kinesis:NAME`."""
    place = StreamPlace.parse(name)
    if place.kind == "file":
        return FileLog(Path(place.rest))
    if place.kind == "kinesis":
        return KinesisSource(stream_client("kinesis"), place.rest)
    raise StreamError(f"source {name!r}: it must be file:DIR or kinesis:NAME")


def sink_of(name: str) -> Sink:
    """One of FORMS."""
    place = StreamPlace.parse(name)
    match place.kind:
        case "file":
            return FileSink(Path(place.rest))
        case "kinesis":
            return KinesisSink(stream_client("kinesis"), place.rest)
        case "parquet":
            return ParquetSink(place.store())
        case "webhook":
            return _webhook(place.rest)
        case _:
            raise StreamError(f"sink {name!r}: it must be {FORMS}")


def _webhook(url: str) -> Webhook:
    secret = ServeSettings.read_secret("stream_webhook_secret")
    return Webhook(url, secret.get_secret_value())


def leases_of(
    name: str | None,
    source: str,
    sinks: list[str],
    *,
    home: Home,
) -> ShardLeases:
    """`file:DIR`, `dynamodb:TABLE`, or for None a folder beside the output.

    Those two belong together.
    """
    if not name:
        return FileLeases(_default_leases(source, sinks, home))
    place = StreamPlace.parse(name)
    if place.kind == "dynamodb":
        return DynamoLeases(stream_client("dynamodb"), place.rest, source)
    if place.kind == "file":
        return FileLeases(Path(place.rest))
    raise StreamError(f"leases {name!r}: it must be file:DIR or dynamodb:TABLE")


def _default_leases(
    source: str,
    sinks: list[str],
    home: Home,
) -> Path:
    for place in map(StreamPlace.parse, sinks):
        if place.kind == "file":
            return Path(place.rest) / ".consumer"
    words = [source, *sorted(sinks)]
    return home.state / "stream" / text_digest(" ".join(words))[:16]


@dataclass(frozen=True)
class StreamPlan:
    """The words that name a stream: where records come from, and where results go."""

    source: str
    sinks: list[str]
    dead_letters: str
    leases: str | None = None

    def check(self) -> None:
        """Raise StreamError for words that name nothing, or one place for two things."""
        letters = StreamPlace.parse(self.dead_letters)
        if letters.kind != "file":
            raise StreamError(f"dead letters {self.dead_letters!r}: it must be file:DIR")
        kinds = {place.kind for place in self._sinks()}
        if len(kinds) < len(self.sinks):
            raise StreamError("two sinks of one kind: name each kind once")
        self._refuse_own_stream()
        self._refuse_shared_folders()

    def _sinks(self) -> list[StreamPlace]:
        return [StreamPlace.parse(sink) for sink in self.sinks]

    def _refuse_own_stream(self) -> None:
        source = StreamPlace.parse(self.source)
        if source.kind == "kinesis" and self.source in self.sinks:
            raise StreamError(f"{self.source} is the source and a sink: results need another")

    def _refuse_shared_folders(self) -> None:
        words = [self.source, *self.sinks, self.dead_letters]
        places = map(StreamPlace.parse, words)
        folders = (place.folder for place in places)
        uses = Counter(folder.resolve() for folder in folders if folder)
        ((folder, count),) = uses.most_common(1)
        if count > 1:
            raise StreamError(
                f"{folder} is named for two things: source, sinks and dead letters need a folder "
                "each"
            )

    def claim_outputs(self) -> None:
        """Mark each place that is written to as this source's; raises StreamError."""
        source = source_identity(self.source)
        words = [*self.sinks, self.dead_letters, self.leases or ""]
        for place in map(StreamPlace.parse, words):
            if place.is_kept:
                claim_output(place.store(), source, place.rest)

    def open_dead_letters(self) -> DeadLetters:
        place = StreamPlace.parse(self.dead_letters)
        return DeadLetters(Path(place.rest))


def build_consumer(
    source: str,
    sinks: list[str],
    dead_letters: str,
    *,
    leases: str | None,
    scorer: Scorer,
    home: Home,
    settings: ServeSettings,
) -> Consumer:
    """A consumer of what the words name. Raises StreamError for words that name nothing."""
    plan = StreamPlan(source, sinks, dead_letters, leases)
    plan.check()
    open_source = source_of(source)
    open_sinks = [sink_of(sink) for sink in sinks]
    shard_leases = leases_of(
        leases,
        source,
        sinks,
        home=home,
    )
    plan.claim_outputs()
    return Consumer(
        open_source,
        scorer,
        open_sinks,
        dead_letters=plan.open_dead_letters(),
        leases=shard_leases,
        settings=settings,
    )


@click.command()
@click.option(
    "--source", required=True, help="file:DIR (a folder of JSON-lines files) or kinesis:NAME"
)
@click.option(
    "--sink",
    "sinks",
    required=True,
    multiple=True,
    help=f"{FORMS}; several of different kinds",
)
@click.option("--dead-letters", required=True, help="file:DIR, for records that cannot be scored")
@click.option(
    "--leases", help="file:DIR or dynamodb:TABLE (default: beside a file sink, else in the home)"
)
@click.option(
    "--port",
    type=int,
    help="of the service on this machine (default: of the platform that runs here)",
)
@service_options
@click.option("--metrics-port", type=int, help="where to answer Prometheus, on 127.0.0.1")
@click.option("--until-end", is_flag=True, help="stop when all that is there is read")
@json_option
@report_errors
def consume(
    source: str,
    sinks: tuple[str, ...],
    dead_letters: str,
    leases: str | None,
    port: int | None,
    service: ServiceOptions,
    metrics_port: int | None,
    until_end: bool,
    as_json: bool,
) -> None:
    """Score a stream: each record {"id", "features"} of the source gives one result,
    or one dead letter with the reason.
    """
    home = HomeSettings().open()
    target = _service(home, port, service)
    settings = ServeSettings()
    scorer = HttpScorer(target.url, target.headers, settings.model_name)
    consumer = build_consumer(
        source,
        list(sinks),
        dead_letters,
        leases=leases,
        scorer=scorer,
        home=home,
        settings=settings,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: consumer.stop())
    if metrics_port is not None:
        _answer_prometheus(metrics_port, consumer)
    say(f"scoring {source} with {target.url}" + ("" if until_end else "; Ctrl-C stops it"))
    began = time.monotonic()
    counts = consumer.run(until_end=until_end)
    seconds = time.monotonic() - began
    summary: dict[str, Any] = {**counts, "seconds": round(seconds, 3)}
    print_figures(summary, as_json=as_json)


def _answer_prometheus(port: int, consumer: Consumer) -> None:
    from prometheus_client import start_http_server

    start_http_server(port, "127.0.0.1", consumer.metrics.registry)


def _service(
    home: Home,
    port: int | None,
    named: ServiceOptions,
) -> Service:
    """The service on `port` of this machine, else the one that is named, else the platform's."""
    if port is None:
        return named.require(home)
    platform = home.platform()
    if named.key is None and platform is not None:
        own_port = urlsplit(platform.url).port
        if port == own_port:
            return platform.service
    local = replace(named, url=f"http://127.0.0.1:{port}")
    return local.require(home)
