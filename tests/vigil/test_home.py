"""vigil/home.py: atomic files, the record of the running platform, the Ray token."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, make_url

from vigil.errors import PlatformError
from vigil.home import Home, RunningPlatform, sqlite_uri, use_ray_token, write_json
from vigil.process_birth import own_birth, process_birth
from vigil.settings import HomeSettings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


def this_process() -> RunningPlatform:
    return RunningPlatform(
        "id", os.getpid(), own_birth(), "http://x", "127.0.0.1:1", "http://d", "http://m", "/token"
    )


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    write_json(path, {"n": 1})
    with path.open() as reader:
        write_json(path, {"n": 2})
        assert json.load(reader) == {"n": 1}
    assert json.loads(path.read_text()) == {"n": 2}
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"n": 1})
    with pytest.raises(TypeError):
        write_json(path, {"n": object()})

    def disk_full(file: Path, text: str) -> int:
        file.write_bytes(text.encode()[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"n": 2})
    assert json.loads(path.read_text()) == {"n": 1}


def test_a_live_platform_is_found(home: Home) -> None:
    home.write_platform(this_process())
    assert home.platform() == this_process()


def test_a_dead_process_or_a_recycled_pid_is_no_platform(home: Home) -> None:
    home.write_platform(replace(this_process(), birth="another"))
    assert home.platform() is None
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    home.write_platform(replace(this_process(), pid=ended.pid))
    assert home.platform() is None


def test_a_process_is_told_from_others_whatever_its_name(tmp_path: Path) -> None:
    named = tmp_path / "a) R 1 (b"
    named.symlink_to("/bin/cat")
    with subprocess.Popen([named], stdin=subprocess.PIPE) as process:
        birth = process_birth(process.pid)
        assert birth == process_birth(process.pid)
        assert birth not in (None, own_birth())
        process.communicate()


@pytest.mark.parametrize("record", [None, "", "{", "{}", "[]", '{"id": "x", "unknown": 1}'])
def test_a_record_that_is_absent_or_torn_is_no_platform(home: Home, record: str | None) -> None:
    if record is not None:
        home.record.write_text(record)
    assert home.platform() is None


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without Ray's variables, and with whatever is set by the test undone."""
    for name in (
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_TOKEN_PATH",
        "RAY_USAGE_STATS_ENABLED",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.usefixtures("bare_environment")
def test_the_ray_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    path = use_ray_token(home)
    token = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) == 64
    assert (os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN_PATH"]) == ("token", str(path))
    assert use_ray_token(home).read_text() == token
    assert use_ray_token(Home(tmp_path / "other")).read_text() != token


def test_a_token_given_by_the_environment_wins(
    home: Home, bare_environment: pytest.MonkeyPatch
) -> None:
    bare_environment.setenv("RAY_AUTH_TOKEN", "given")
    use_ray_token(home)
    assert os.environ["RAY_AUTH_TOKEN"] == "given"
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_a_home_that_may_not_be_written_is_a_sentence(
    tmp_path: Path, bare_environment: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    below = Home(tmp_path / "file" / "home")
    for make in (below.create, lambda: use_ray_token(below)):
        with pytest.raises(PlatformError, match="VIGIL_HOME names another folder") as caught:
            make()
        assert str(below.root) in caught.value.message
    # Folders that another user made: only the check of access tells, and root may do all.
    bare_environment.setattr(os, "access", lambda *_: False)
    with pytest.raises(PlatformError, match="Permission denied"):
        Home(tmp_path / "home").create()


def test_a_command_that_writes_nothing_needs_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {**os.environ, "VIGIL_HOME": str(tmp_path / "file" / "home")}
    command = [sys.executable, "-m", "vigil", "status"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no platform runs")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_database_has_the_path_of_its_home_whatever_that_is_called(name: str) -> None:
    file = Path("/srv") / name / "mlflow.db"
    assert make_url(sqlite_uri(file)).database == str(file)


@pytest.mark.parametrize(
    "name", ["what?now", "pct%20x", "100%", "a#b", "it's", 'say "x"', "my home ü", "new\nline", "?"]
)
def test_the_database_of_a_home_is_in_it(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name).create()
    engine = create_engine(home.database_uri)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n INTEGER)")
    engine.dispose()
    assert (home.root / "mlflow.db").stat().st_size > 0
    # The folder that the URI seems to name, which MLflow makes.
    seeming = Path(home.database_uri.removeprefix("sqlite:///")).parent
    assert seeming.resolve() in (home.root, Path.cwd())


@pytest.mark.parametrize(
    ("name", "root"),
    [("", ".vigil"), ("rel", "rel"), ("~nobody.here/x", "~nobody.here/x"), ("/abs", "/abs")],
)
def test_where_the_home_is(monkeypatch: pytest.MonkeyPatch, name: str, root: str) -> None:
    monkeypatch.setenv("VIGIL_HOME", name)
    assert HomeSettings().open().root == Path.cwd() / root


def test_a_home_whose_name_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_HOME", "/srv/\udcff")
    with pytest.raises(PlatformError, match=r"VIGIL_HOME = .* UTF-8"):
        HomeSettings().open()
