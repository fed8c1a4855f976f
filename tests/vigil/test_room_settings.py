"""Settings: where a value comes from, what is refused and how, and what is never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from drift.settings import DriftSettings
from serve.applications import platform_config
from serve.local.follow import AllSettings, SettingsFollower, read_settings
from serve.local.show_settings import settings
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.errors import BadSettings, PlatformError
from vigil.room_settings import Effect

CANARY = "canary-5d1c"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of this process; nothing else says what settings are."""
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path))
    for name in ("VIGIL_CONFIG", "VIGIL_SECRETS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def say(home: Path, text: str) -> None:
    (home / "vigil.yaml").write_text(text)


def test_what_is_given_wins_over_the_environment_and_that_over_the_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(
        home,
        "serve: {maxRows: 3, reasons: 2, pollS: 1.5, links: {A: 'https://a.example'}}\ntrain:\n",
    )
    monkeypatch.setenv("VIGIL_SERVE_MAX_ROWS", "5")
    monkeypatch.setenv("VIGIL_SERVE_REASONS", "7")
    found = ServeSettings(max_rows=6)
    assert (found.max_rows, found.reasons, found.poll_s, found.flush_s) == (6, 7, 1.5, 1.0)
    assert found.links == {"A": "https://a.example"}
    assert ServeSettings.from_values(max_rows=6).reasons == 3
    origins = {name: str(origin) for name, origin in ServeSettings.origins().items()}
    assert origins["reasons"] == "environment VIGIL_SERVE_REASONS"
    assert origins["poll_s"] == f"file {home / 'vigil.yaml'}"
    assert origins["flush_s"] == "default"


def test_another_file_is_named_by_a_variable(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("drift: {mode: observe}")
    monkeypatch.setenv("VIGIL_CONFIG", str(other))
    assert DriftSettings().mode == "observe"
    other.unlink()
    with pytest.raises(BadSettings, match=rf"VIGIL_CONFIG: there is no file {other}"):
        DriftSettings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("serve: [", "is not YAML"),
        ("- serve", "it must have an object each for serve, drift, train"),
        ("serve: 5", "it must have an object each for serve, drift, train"),
        ("server: {}", "server: the objects are serve, drift, train"),
        ("serve: {maxRow: 5}", "serve.maxRow: no such key; did you mean serve.maxRows"),
        ("serve: {max_rows: 5}", "serve.max_rows: no such key; did you mean serve.maxRows"),
        ("serve: {maxRows: 0}", "serve.maxRows = 0: Input should be greater than or equal to 1"),
        ("drift: {incidentsUrl: 'mysql://h/d'}", "drift.incidentsUrl = .*postgresql://USER@HOST"),
        (
            "drift: {incidentsUrl: 'postgresql://u:secret@h/d'}",
            r"= 'postgresql://u:\*{4}@h/d': a password belongs into the file that PGPASSFILE",
        ),
        ("train: {jobsUrl: 'http://x'}", "VIGIL_TRAIN_JOBS_URL needs VIGIL_TRAIN_TRACKING_URI"),
    ],
)
def test_a_wrong_file_is_refused(home: Path, text: str, complaint: str) -> None:
    say(home, text)
    with pytest.raises(BadSettings, match=complaint):
        read_settings()


def test_the_mistakes_of_all_rooms_are_told_at_once_by_the_names_that_were_used(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(home, "drift: {alpha: 3}\ntrain: {seed: -1}")
    monkeypatch.setenv("VIGIL_SERVE_PORT", "eighty")
    monkeypatch.setenv("VIGIL_SERVE_LINKS", "{")
    with pytest.raises(BadSettings) as refused:
        read_settings()
    assert len(refused.value.mistakes) == 3  # links stop the reading of what is beside them
    for told in ('"links"', "drift.alpha = 3", "train.seed = -1"):
        assert told in refused.value.message
    monkeypatch.delenv("VIGIL_SERVE_LINKS")
    with pytest.raises(BadSettings, match="VIGIL_SERVE_PORT = 'eighty'"):
        read_settings()


def test_a_secret_is_read_anew_from_its_file_and_never_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "secrets"
    folder.mkdir()
    monkeypatch.setenv("VIGIL_SECRETS", str(folder))
    assert not DriftSettings.read_secret("github_token").get_secret_value()
    (folder / "VIGIL_DRIFT_GITHUB_TOKEN").write_text(f"{CANARY}\n")
    (folder / "VIGIL_SERVE_STREAM_WEBHOOK_SECRET").write_text(CANARY)
    assert DriftSettings.read_secret("github_token").get_secret_value() == CANARY
    found = read_settings()
    assert found.serve.stream_webhook_secret.get_secret_value() == CANARY
    for room in (found.serve, found.drift, found.train):
        assert CANARY not in json.dumps([room.values_at_start(), room.live_values()])
        assert CANARY not in repr(room)
    assert CANARY not in json.dumps(platform_config(found.serve, found.drift))
    shown = CliRunner().invoke(settings, [])
    assert shown.exit_code == 0
    assert CANARY not in shown.output


def test_the_command_shows_value_origin_and_effect(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(home, "serve: {maxRows: 3}")
    monkeypatch.setenv("VIGIL_TRAIN_SEED", "4")
    monkeypatch.setenv("VIGIL_DRIFT_GITHUB_TOKEN", CANARY)
    shown = CliRunner().invoke(settings, ["--changed", "--json"])
    found = {one["key"]: one for one in json.loads(shown.output)["settings"]}
    assert found.keys() == {"serve.maxRows", "train.seed", "drift.githubToken"}
    rows = {
        "key": "serve.maxRows",
        "variable": "VIGIL_SERVE_MAX_ROWS",
        "value": 3,
        "effect": "reconfigure",
    }
    assert found["serve.maxRows"] == rows | {"from": f"file {home / 'vigil.yaml'}"}
    assert found["drift.githubToken"]["value"] == "set"
    everything = CliRunner().invoke(settings, ["train", "--json"])
    assert len(json.loads(everything.output)["settings"]) == len(TrainSettings.model_fields)
    say(home, "serve: {maxRows: 0}")
    wrong = CliRunner().invoke(settings, [])
    assert (wrong.exit_code, "Traceback" in wrong.output) == (2, False)


def test_every_field_says_what_changing_it_does() -> None:
    for cls in (ServeSettings, DriftSettings, TrainSettings):
        for name in cls.model_fields:
            assert isinstance(cls.effect_of(name), Effect)


def test_live_values_are_checked_and_others_are_not_taken() -> None:
    before: Any = ServeSettings.from_values(home=Path("/h"), auth="required")
    after = before.with_live_values({"max_rows": 4, "auth": "off"})
    assert (after.max_rows, after.auth, after.home) == (4, "required", Path("/h"))
    with pytest.raises(BadSettings, match=r"serve\.maxRows = 0"):
        before.with_live_values({"max_rows": 0})


def test_the_github_backend_is_refused_without_a_token_before_anything_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(home, "drift: {backend: github, githubRepository: acme/vigil}")
    with pytest.raises(
        BadSettings, match=r"drift\.backend = 'github': it needs a token .*VIGIL_DRIFT_GITHUB_TOKEN"
    ):
        read_settings()
    monkeypatch.setenv("VIGIL_DRIFT_GITHUB_TOKEN", CANARY)
    assert read_settings().drift.backend == "github"


def test_what_serve_could_not_take_is_tried_again(home: Path) -> None:
    is_away = True
    taken: list[int] = []
    told: list[str] = []

    def apply(settings: AllSettings) -> None:
        if is_away:
            raise PlatformError("it is away")
        taken.append(settings.serve.max_rows)

    follower = SettingsFollower(read_settings().serve, apply=apply, tell=told.append)
    say(home, "serve: {maxRows: 3}")
    follower.look()
    assert told == ["serve.maxRows: 50000 -> 3 (reconfigure)", "settings are not taken: it is away"]
    is_away = False
    follower.look()
    follower.look()
    assert taken == [3]
