"""The monitor's state under its lease: in a folder, and in S3 (moto)."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from moto import mock_aws

from drift.state import LEASE_S, FileState, LostLease, S3State, StateStore

Make = Callable[[], StateStore]


class StateBucket:
    """An object of S3, with its conditional puts."""

    def __init__(self) -> None:
        self.puts = 0
        self._body = b""

    @property
    def state(self) -> Any:
        return json.loads(self._body)["state"]

    def get_object(self, **place: str) -> dict[str, Any]:
        if not self.puts:
            raise self._error("NoSuchKey", 404)
        return {"Body": BytesIO(self._body), "ETag": str(self.puts)}

    def put_object(self, *, Body: bytes, **options: str) -> dict[str, str]:
        seen = options.get("IfMatch", "0")
        if seen != str(self.puts):
            raise self._error("PreconditionFailed", 412)
        self.puts += 1
        self._body = Body
        return {"ETag": str(self.puts)}

    def _error(self, code: str, status: int) -> ClientError:
        response: Any = {
            "Error": {"Code": code},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
        return ClientError(response, "put_object")


@pytest.fixture(params=["file", "s3"])
def make(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """make() is one more monitor's view of the one state."""
    if request.param == "file":
        made: list[FileState] = []

        def another() -> FileState:
            made.append(FileState(tmp_path))
            return made[-1]

        yield another
        for one in made:
            one.release()
        return
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="state")
        yield lambda: S3State("s3://state/prod/", client)


def test_one_holds_it_and_the_next_goes_on_where_it_stopped(make: Make) -> None:
    first, second = make(), make()
    assert first.acquire_lease()
    assert first.load() is None
    first.save({"episode": 1})
    assert first.acquire_lease()
    assert not second.acquire_lease()
    with pytest.raises(LostLease):
        second.save({"episode": 2})
    first.release()
    assert second.acquire_lease()
    assert second.load() == {"episode": 1}
    assert not first.acquire_lease()


def test_in_s3_a_monitor_that_slept_too_long_has_lost_it() -> None:
    clock, bucket = [1000.0], StateBucket()
    sleeper, waker = (S3State("s3://state", bucket, lambda: clock[0]) for _ in range(2))
    assert sleeper.acquire_lease()
    sleeper.save({"by": "sleeper"})
    assert not waker.acquire_lease()
    clock[0] += LEASE_S - 1
    assert sleeper.acquire_lease()  # renewed in time
    assert not waker.acquire_lease()
    clock[0] += LEASE_S
    assert not waker.acquire_lease()
    clock[0] += 1
    assert waker.acquire_lease()
    assert waker.load() == {"by": "sleeper"}
    with pytest.raises(LostLease):
        sleeper.save({"by": "sleeper, too late"})
    assert not sleeper.acquire_lease()
    assert bucket.state == {"by": "sleeper"}


def test_in_s3_a_state_of_an_older_release_is_taken_over() -> None:
    clock, bucket = [0.0], StateBucket()
    former = json.dumps({"holder": "former", "until": 9e9, "state": {"n": 1}})
    bucket.put_object(Body=former.encode(), IfNoneMatch="*")
    monitor = S3State("s3://state", bucket, lambda: clock[0])
    assert not monitor.acquire_lease()
    clock[0] += LEASE_S + 1
    assert monitor.acquire_lease()
    assert monitor.load() == {"n": 1}


class Monitors(RuleBasedStateMachine):
    """Three monitors whose clocks have nothing in common but that seconds pass."""

    def __init__(self) -> None:
        super().__init__()
        self.bucket = StateBucket()
        self.passed = 0.0
        self.states = [
            S3State("s3://state", self.bucket, lambda offset=offset: self.passed + offset)
            for offset in (0.0, -1e9, 1e6)
        ]
        self.alive_at = dict.fromkeys(range(3), -math.inf)  # of each: its last put
        self.saved = 0

    @rule(seconds=st.sampled_from([1.0, 4.0, LEASE_S - 0.5, LEASE_S + 1.0]))
    def wait(self, seconds: float) -> None:
        self.passed += seconds

    @rule(who=st.integers(0, 2))
    def acquire(self, who: int) -> None:
        puts = self.bucket.puts
        others = {one: at for one, at in self.alive_at.items() if one != who}
        if not self.states[who].acquire_lease():
            return
        if self.bucket.puts > puts:
            is_taken = [one for one, at in others.items() if self.passed - at <= LEASE_S]
            assert not is_taken
            assert (self.states[who].load() or {"n": 0}) == {"n": self.saved}
            self.alive_at = dict.fromkeys(range(3), -math.inf) | {who: self.passed}

    @rule(who=st.integers(0, 2))
    def save(self, who: int) -> None:
        try:
            self.states[who].save({"n": self.saved + 1})
        except LostLease:
            return
        self.saved += 1
        self.alive_at[who] = self.passed
        assert self.alive_at == dict.fromkeys(range(3), -math.inf) | {who: self.passed}

    @rule(who=st.integers(0, 2))
    def release(self, who: int) -> None:
        self.states[who].release()
        self.alive_at[who] = -math.inf


test_in_s3_one_monitor_at_a_time_writes_and_loses_nothing = Monitors.TestCase


def test_in_s3_who_cannot_ask_holds_nothing() -> None:
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        with pytest.raises(OSError, match="NoSuchBucket"):
            S3State("s3://absent", boto3.client("s3", region_name="us-east-1")).acquire_lease()


def test_a_killed_monitor_lets_go_of_its_folder(tmp_path: Path) -> None:
    script = """if True:
        import sys
        from pathlib import Path
        from drift.state import FileState
        held = FileState(Path(sys.argv[1]))
        print(held.acquire_lease(), flush=True)
        sys.stdin.read()
    """
    mine = FileState(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not mine.acquire_lease()
        holder.kill()
    assert mine.acquire_lease()
    mine.release()
