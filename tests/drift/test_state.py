"""The monitor's state under its lease: in a folder, and in S3 (moto)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from drift.state import LEASE_S, FileState, LostLease, S3State, StateStore

Make = Callable[[], StateStore]


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
    clock = [1000.0]
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="state")
        sleeper, waker = (S3State("s3://state", client, lambda: clock[0]) for _ in range(2))
        assert sleeper.acquire_lease()
        sleeper.save({"by": "sleeper"})
        clock[0] += LEASE_S - 1
        assert sleeper.acquire_lease()  # renewed in time
        clock[0] += LEASE_S - 1
        assert not waker.acquire_lease()
        clock[0] += 2
        assert waker.acquire_lease()
        assert waker.load() == {"by": "sleeper"}
        with pytest.raises(LostLease):
            sleeper.save({"by": "sleeper, too late"})
        assert not sleeper.acquire_lease()
        stored = client.get_object(Bucket="state", Key="monitor.json")["Body"].read()
        assert json.loads(stored)["state"] == {"by": "sleeper"}


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
