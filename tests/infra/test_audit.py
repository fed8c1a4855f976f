"""No pin grows old unseen: what `make audit` finds, and that the tree passes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from infra.audit.__main__ import main
from infra.audit.direct import direct_pins
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
from infra.audit.workflows import workflow_pins
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
    "https://api.github.com/repos/owner/tool/releases?per_page=100": [
        {"tag_name": "v1.8.0", "prerelease": True, "published_at": "2026-05-01T00:00:00Z"},
        {"tag_name": "bundle-v9", "prerelease": False, "published_at": "2026-05-01T00:00:00Z"},
        {"tag_name": "v1.7.10", "prerelease": False, "published_at": "2026-03-01T09:53:00Z"},
        {"tag_name": "v1.7.8", "prerelease": False, "published_at": "2026-01-01T00:00:00Z"},
    ],
}
# As `helm repo index` writes it.
INDEX = """apiVersion: v1
entries:
  tool:
  - apiVersion: v2
    created: "2026-03-01T09:53:12.123456789Z"
    digest: 46d6cf95a1a8d2ba4a4a9a4e1d1d5f4f4c8b0b1ce6a5a6a2c8d6b7b7c2e4f5a1
    name: tool
    urls:
    - https://charts.example.com/tool-1.7.10.tgz
    version: 1.7.10
  - apiVersion: v2
    created: "2026-01-01T00:00:00Z"
    name: tool
    version: 1.7.8
generated: "2026-03-01T09:53:12.123456789Z"
"""


def fetch(url: str) -> str:
    if url.endswith("/list"):
        return "v1.7.8\nv1.7.10\nv1.8.0-rc.1\n"
    if url == "https://charts.example.com/index.yaml":
        return INDEX
    return json.dumps(ANSWERS[url])


@pytest.mark.parametrize(
    "registry",
    [
        "pypi:tool",
        "npm:@models/tool",
        "go:host/Tool",
        "github:owner/tool",
        "helm:https://charts.example.com#tool",
    ],
)
def test_each_registry_is_asked_for_newer_releases(registry: str) -> None:
    newer = newer_releases(pin(registry=registry), fetch)
    assert newer == [NewerRelease("1.7.10", date(2026, 3, 1))]


def test_a_registry_that_nobody_knows_is_named() -> None:
    with pytest.raises(
        BadSettings, match="registry 'cargo' is none of pypi, npm, go, github, helm"
    ):
        newer_releases(pin(registry="cargo:tool"), fetch)


def test_an_exception_holds_until_its_day_and_is_then_a_finding_itself() -> None:
    found = [PinFinding("tool", "old"), PinFinding("GHSA-1", "known")]
    granted = [Exemption(of="tool", reason="upstream", until=TODAY)]
    assert list(without_exempted(found, granted, TODAY)) == found[1:]
    later = list(without_exempted(found, granted, TODAY + timedelta(days=1)))
    assert later[:2] == found
    assert later[2].text == f"the exception is over since {TODAY}"


def test_actions_are_pins_too(tmp_path: Path) -> None:
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    commit = "3d3c42e5aac5ba805825da76410c181273ba90b1"
    uses = f"- uses: owner/tool/analyze@{commit} # v4.36.2\n"
    (folder / "ci.yml").write_text(uses * 2)
    (found,) = workflow_pins(tmp_path, TODAY)
    assert (found.name, found.version) == ("owner/tool", "4.36.2")
    assert (found.registry, found.file) == ("github:owner/tool", ".github/workflows/ci.yml")


def test_libraries_that_the_project_names_are_pins_too(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[project]\ndependencies = [\"Fast_Lib[extra]>=1; sys_platform == 'linux'\"]\n"
        '[dependency-groups]\ndev = ["other<2"]\n'
    )
    locked = '[[package]]\nname = "{}"\nversion = "1.5"\nsource = {{registry = "R"}}\n'
    names = ("fast-lib", "needed-by-it", "other")
    (tmp_path / "uv.lock").write_text("".join(map(locked.format, names)))
    found = [(pin.name, pin.version, pin.registry) for pin in direct_pins(tmp_path, TODAY)]
    assert found == [("fast-lib", "1.5", "pypi:fast-lib"), ("other", "1.5", "pypi:other")]


def test_every_action_of_the_workflows_is_asked_for() -> None:
    texts = [path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")]
    used = {name for text in texts for name in re.findall(r"uses: ([\w-]+/[\w-]+)", text)}
    assert {pin.name for pin in workflow_pins(ROOT, TODAY)} == used


@pytest.fixture
def osv() -> Iterator[str]:
    """OSV's API, which knows two advisories of click and answers one a page."""

    def answer(asked: Asked) -> tuple[int, Any]:
        queries = json.loads(asked.body)["queries"]
        return 200, {"results": list(map(result, queries))}

    def result(query: Any) -> Any:
        if query["package"]["name"] != "click":
            return {}
        if query.get("page_token") == "second":
            return {"vulns": [{"id": "GHSA-2", "modified": "2026-06-01T00:00:00Z"}]}
        first = {"id": "GHSA-1", "modified": "2026-06-01T00:00:00Z"}
        return {"vulns": [first], "next_page_token": "second"}

    with answering(answer) as url:
        yield url


@pytest.fixture
def registries() -> Iterator[str]:
    """A mirror of all registries, which knows one tool: its newer release is of long ago."""

    def answer(asked: Asked) -> tuple[int, Any]:
        nothing = {"releases": {}} if "pypi.org" in asked.path else []
        return 200, ANSWERS.get(f"https:/{asked.path}", nothing)

    with answering(answer) as url:
        yield url


def audit(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, options)
    return result.exit_code, result.output


EXCEPTION = '[[exception]]\nof = "{}"\nreason = "not reached"\nuntil = {}-01-01\n'


def test_an_advisory_of_a_locked_library_fails_until_it_is_excepted(
    osv: str, registries: str, tmp_path: Path
) -> None:
    path = tmp_path / "pins.toml"
    path.write_text("")
    asked = ("--pins", str(path), "--osv", osv, "--through", registries)
    code, output = audit(*asked)
    assert code == 1
    assert re.findall(r"GHSA-\d: click", output) == ["GHSA-1: click", "GHSA-2: click"]
    path.write_text(EXCEPTION.format("GHSA-1", 2999))
    code, output = audit(*asked)
    assert (code, "GHSA-1" in output, "GHSA-2" in output) == (1, False, True)
    both = path.read_text() + EXCEPTION.format("GHSA-2", 2999)
    path.write_text(both)
    code, output = audit(*asked)
    assert code == 0, output
    path.write_text(both.replace("2999", "2020"))
    code, output = audit(*asked)
    assert (code, "the exception is over" in output) == (1, True)


OLD_PIN = """[[pin]]
name = "tool"
version = "1.7.8"
file = ".github/workflows/ci.yml"
registry = "pypi:tool"
source = "PyPI"
day = 2026-11-30
"""


def test_an_old_pin_fails_until_it_is_excepted(osv: str, registries: str, tmp_path: Path) -> None:
    path = tmp_path / "pins.toml"
    known = "".join(EXCEPTION.format(name, 2999) for name in ("GHSA-1", "GHSA-2"))
    asked = ("--pins", str(path), "--osv", osv, "--through", registries)
    path.write_text(known + OLD_PIN.replace("1.7.8", "1"))
    code, output = audit(*asked)
    assert (code, "tool: 1 is behind since 2025-01-01: 1.7.10 is there" in output) == (1, True)
    path.write_text(path.read_text() + EXCEPTION.format("tool", 2999))
    code, output = audit(*asked)
    assert code == 0, output


def test_who_does_not_answer_is_named_and_fails_where_nobody_reads_it(
    registries: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pins.toml"
    path.write_text("")
    nobody = ("--pins", str(path), "--osv", "http://127.0.0.1:9", "--through", registries)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    code, output = audit(*nobody)
    assert (code, "not asked: http://127.0.0.1:9" in output) == (0, True)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert audit(*nobody)[0] == 1


def test_a_pin_whose_registry_does_not_answer_is_looked_up_again_by_somebody(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pins.toml"
    nobody = "http://127.0.0.1:9"
    path.write_text(OLD_PIN.replace("1.7.8", "v7").replace("2026", "2020"))
    code, output = audit("--pins", str(path), "--osv", nobody, "--through", nobody)
    assert (code, "tool: nobody has looked for a newer one since 2020" in output) == (1, True)


def test_an_entry_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pins.toml"
    path.write_text('[[pin]]\nname = "tool"\nverison = "1"\n')
    with pytest.raises(BadSettings, match="verison"):
        read_pins(path)


RENOVATE = json.loads((ROOT / "renovate.json").read_text())


def proposed(manager: dict[str, Any]) -> set[tuple[str, str]]:
    """What one of Renovate's managers finds in the tree: name and version."""
    (place,) = manager["managerFilePatterns"]
    (path,) = [
        one for one in (".ci", "infra") for one in (ROOT / one).rglob("*") if fits(place, one)
    ]
    text = path.read_text()
    (pattern,) = [re.sub(r"\(\?<(\w+)>", r"(?P<\1>", one) for one in manager["matchStrings"]]
    return {
        (match.groupdict().get("depName") or manager["depNameTemplate"], match["currentValue"])
        for match in re.finditer(pattern, text)
    }


def fits(place: str, path: Path) -> bool:
    """Whether a pattern of Renovate's, /REGEX/, is of a file."""
    return path.is_file() and bool(re.search(place.strip("/"), str(path.relative_to(ROOT))))


@pytest.mark.parametrize("manager", RENOVATE["customManagers"], ids=lambda one: one["description"])
def test_a_rule_of_renovate_finds_what_it_is_for(manager: dict[str, Any]) -> None:
    assert proposed(manager)


def test_renovate_proposes_newer_charts_and_tools_for_all_that_are_pinned() -> None:
    found = {pair for manager in RENOVATE["customManagers"] for pair in proposed(manager)}
    versions = {version.removeprefix("v") for _, version in found}
    by_hand = [pin for pin in read_pins(PIN_FILE).pins if pin.file.startswith((".ci", "infra/man"))]
    assert {pin.version for pin in by_hand} <= versions
