"""No pin grows old unseen: what `make audit` finds, and that the tree passes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from infra.audit.__main__ import main
from infra.audit.page import render_table
from infra.audit.pins import (
    MAX_AGE,
    Exemption,
    NewerRelease,
    Pin,
    PinFinding,
    age_finding,
    local_findings,
    read_pins,
    without_exempted,
)
from infra.audit.registries import newer_releases
from infra.stack_settings import ROOT
from tests.answering import Asked, answering
from vigil.errors import BadSettings

TODAY = date(2026, 11, 30)
PIN_FILE = ROOT / ".ci/pins.toml"
PIN = Pin(
    name="tool",
    version="1.7.8",
    file="tool.sh",
    source="PyPI",
    day=TODAY,
    registry="pypi:tool",
)


def pin(**values: Any) -> Pin:
    return Pin(**{**PIN.__dict__, **values})


def test_the_page_shows_the_pins() -> None:
    table = render_table(read_pins(PIN_FILE).pins)
    written = "run `make audit ARGS=--write-docs`"
    assert table in (ROOT / "docs/security.md").read_text(), written


def test_the_pins_are_where_the_file_says() -> None:
    assert not list(local_findings(read_pins(PIN_FILE).pins, ROOT, TODAY))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"version": "1.7.9"}, "no longer has 1.7.9"),
        ({"supported_until": TODAY - timedelta(days=1)}, "out of support since 2026-11-29"),
        ({"registry": "", "day": TODAY - timedelta(days=91)}, "nobody has looked"),
    ],
)
def test_a_pin_that_moved_or_is_out_of_support_or_forgotten_is_found(
    tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    (tmp_path / "tool.sh").write_text("tool==1.7.8")
    assert not list(local_findings([PIN], tmp_path, TODAY))
    (finding,) = local_findings([pin(**values)], tmp_path, TODAY)
    assert said in finding.text


def test_a_pin_is_behind_when_a_newer_one_has_been_there_for_ninety_days() -> None:
    first = NewerRelease("1.7.9", TODAY - MAX_AGE)
    latest = NewerRelease("2.0.0", TODAY)
    assert age_finding(PIN, [], TODAY) is None
    assert age_finding(PIN, [first, latest], TODAY) is None
    finding = age_finding(PIN, [latest, first], TODAY + timedelta(days=1))
    assert finding is not None
    assert finding.text == "1.7.8 is behind since 2026-09-01: 2.0.0 is there"


ANSWERS = {
    "https://pypi.org/pypi/tool/json": {
        "releases": {
            "1.7.8": [{"upload_time_iso_8601": "2026-01-01T00:00:00Z"}],
            "1.7.10": [{"upload_time_iso_8601": "2026-03-01T00:00:00Z"}],
            "1.7.11": [{"upload_time_iso_8601": "2026-04-01T00:00:00Z", "yanked": True}],
            "1.8.0rc1": [{"upload_time_iso_8601": "2026-05-01T00:00:00Z"}],
            "1.6": [{"upload_time_iso_8601": "2025-01-01T00:00:00Z"}],
        }
    },
    "https://registry.npmjs.org/@models%2Ftool": {
        "time": {
            "created": "2020-01-01T00:00:00Z",
            "1.7.10": "2026-03-01T00:00:00.100+00:00",
            "1.8.0-rc.1": "2026-05-01T00:00:00Z",
        }
    },
    "https://proxy.golang.org/host/!tool/@v/v1.7.10.info": {"Time": "2026-03-01T00:00:00Z"},
}


def fetch(url: str) -> str:
    if url.endswith("/list"):
        return "v1.7.8\nv1.7.10\nv1.8.0-rc.1\n"
    return json.dumps(ANSWERS[url])


@pytest.mark.parametrize("registry", ["pypi:tool", "npm:@models/tool", "go:host/Tool"])
def test_each_registry_is_asked_for_newer_releases(registry: str) -> None:
    newer = newer_releases(pin(registry=registry), fetch)
    assert newer == [NewerRelease("1.7.10", date(2026, 3, 1))]


def test_a_registry_that_nobody_knows_is_named() -> None:
    with pytest.raises(BadSettings, match="registry 'cargo' is none of pypi, npm, go"):
        newer_releases(pin(registry="cargo:tool"), fetch)


def test_an_exception_holds_until_its_day_and_is_then_a_finding_itself() -> None:
    found = [PinFinding("tool", "old"), PinFinding("GHSA-1", "known")]
    granted = [Exemption(of="tool", reason="upstream", until=TODAY)]
    assert list(without_exempted(found, granted, TODAY)) == found[1:]
    later = list(without_exempted(found, granted, TODAY + timedelta(days=1)))
    assert later[:2] == found
    assert later[2].text == f"the exception is over since {TODAY}"


@pytest.fixture
def osv() -> Iterator[str]:
    """OSV's API, which knows one advisory of click."""

    def answer(asked: Asked) -> tuple[int, Any]:
        queries = json.loads(asked.body)["queries"]
        results = [
            {"vulns": [{"id": "GHSA-1"}]} if query["package"]["name"] == "click" else {}
            for query in queries
        ]
        return 200, {"results": results}

    with answering(answer) as url:
        yield url


def audit(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, options)
    return result.exit_code, result.output


def test_an_advisory_of_a_locked_library_fails_until_it_is_excepted(
    osv: str, tmp_path: Path
) -> None:
    path = tmp_path / "pins.toml"
    path.write_text("")
    code, output = audit("--pins", str(path), "--osv", osv)
    assert (code, "GHSA-1: click" in output) == (1, True)
    granted = '[[exception]]\nof = "GHSA-1"\nreason = "not reached"\nuntil = 2999-01-01\n'
    path.write_text(granted)
    code, output = audit("--pins", str(path), "--osv", osv)
    assert code == 0, output
    path.write_text(granted.replace("2999", "2020"))
    code, output = audit("--pins", str(path), "--osv", osv)
    assert (code, "the exception is over" in output) == (1, True)


def test_who_does_not_answer_is_named_and_fails_where_nobody_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pins.toml"
    path.write_text("")
    nobody = ("--pins", str(path), "--osv", "http://127.0.0.1:9")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    code, output = audit(*nobody)
    assert (code, "not asked: http://127.0.0.1:9" in output) == (0, True)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert audit(*nobody)[0] == 1


def test_an_entry_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pins.toml"
    path.write_text('[[pin]]\nname = "tool"\nverison = "1"\n')
    with pytest.raises(BadSettings, match="verison"):
        read_pins(path)
