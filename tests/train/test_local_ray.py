"""A Ray of this machine's own: its CPUs, room for objects, and a start that fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
import ray

from train import local_ray
from vigil.errors import PlatformError


@pytest.mark.parametrize(
    ("allowed", "reserved", "told"),
    [(8, 2.2, 8), (2, 2.0, 2), (2, 2.2, 3), (1, 1.7, 2)],
)
def test_ray_is_told_what_the_container_may_use_and_never_less_than_is_reserved(
    monkeypatch: pytest.MonkeyPatch, allowed: int, reserved: float, told: int
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: allowed)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert local_ray.usable_cpus(reserved) == told


@pytest.mark.parametrize(
    "files",
    [
        {"cpu.max": "300000 100000"},
        {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"},
    ],
    ids=["version 2", "version 1"],
)
def test_both_versions_of_control_groups_are_read(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    files: dict[str, str],
) -> None:
    """Of the library: what is asked is where a container has its limit."""
    from joblib.externals.loky.backend import context

    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def there(path: str) -> Path:
        return Path(str(path).replace("/sys/fs/cgroup", str(tmp_path)))

    monkeypatch.setattr(context.os.path, "exists", lambda path: there(path).is_file())
    monkeypatch.setattr(context, "open", lambda path: there(path).open(), raising=False)
    monkeypatch.setattr(context, "_cpu_count_affinity", lambda _: 64)
    monkeypatch.setattr(context.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(context.mp, "cpu_count", lambda: 64)
    assert local_ray.usable_cpus(1) == 3


def free(monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    """Every file system has so many blocks of 4096 bytes left."""
    found = os.statvfs_result((4096, 4096, 10**6, blocks, blocks, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: found)


def test_shared_memory_that_is_too_small_is_told_with_what_helps(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    free(monkeypatch, 64 * 256)
    told = local_ray.missing_room(256 * local_ray.MIB, tmp_path)
    assert told is not None
    assert f"{tmp_path} has 64 MB free" in told
    assert "--shm-size=512m" in told
    assert "emptyDir" in told


def test_shared_memory_that_is_large_enough_or_absent_is_not_spoken_of(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert local_ray.missing_room(2**60, tmp_path / "absent") is None
    free(monkeypatch, 256 * 256)
    assert local_ray.missing_room(256 * local_ray.MIB, tmp_path) is None


def start(warnings: list[str]) -> None:
    local_ray.start_local_ray(
        reserved=1,
        objects=2**60,
        on_warning=warnings.append,
        room=lambda _: "small",
        include_dashboard=False,
    )


@pytest.fixture
def sigterm() -> Iterator[None]:
    """SIGTERM does afterwards what it did before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm")
def test_sigterm_ends_a_process_with_a_ray_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: None)
    start([])
    with pytest.raises(SystemExit, match="143"):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Exception("The current node timed out during startup. This\ncould"), "give it more"),
        (RuntimeError(), "RuntimeError"),
        (OSError(30, "Read-only file system"), "able to write to /tmp"),
    ],
)
def test_a_start_that_fails_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    said: str,
) -> None:
    def late(**_: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(PlatformError, match="Ray did not start") as caught:
        start([])
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_ray_gets_the_numbers_and_the_user_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    told: list[str] = []
    monkeypatch.setattr(ray, "init", given.update)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 5)
    start(told)
    assert told == ["small"]
    assert given["num_cpus"] == 5
    assert given["object_store_memory"] == 2**60
    assert given["include_dashboard"] is False
