"""The short form of the consumer that is killed again and again."""

from __future__ import annotations

from pathlib import Path

from tests.chaos import stream_kills
from tests.scoring import scoring, small_model


def test_a_consumer_that_is_killed_loses_nothing_and_writes_nothing_twice(tmp_path: Path) -> None:
    with scoring(small_model()) as server:
        found = stream_kills.run(tmp_path, server.url, records=20_000, kills=20)
    assert (
        found.pop("kills") > 10
    )  # on a busy machine some consumers are done before it is their turn
    assert found == {
        "records": 20_000,
        "lost": 0,
        "invented": 0,
        "duplicates": 0,
        "poison": 20,
        "poison_missing": 0,
        "dead_letters_too_many": 0,
    }
