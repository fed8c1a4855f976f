"""README and docs/: commands that exist, links that lead somewhere, sentences that can be read."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import click
import pytest

from drift.settings import DriftSettings
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil import __main__ as command

ROOT = Path(__file__).parent.parent
GENERATED = {"benchmarks.md", "cost.md", "policies.md", "quality.md", "settings.md"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name not in GENERATED),
]
README = (ROOT / "README.md").read_text()
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|[`|;&(] ?|\.venv/bin/)vigil ((?!:)[a-z][^`|;&#\n)]*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
MAX_README_LINES = 150
MAX_MEDIAN_WORDS = 15
by_page = pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES]
)


def commands(text: str) -> list[str]:
    """What follows `vigil`, in blocks of shell and in code of the text."""
    blocks = [block for language, block in FENCED.findall(text) if language in ("", "sh")]
    inline = re.findall(r"`(vigil [^`]+)`", FENCED.sub("", text))
    return [found for part in [*blocks, *inline] for found in COMMAND.findall(part)]


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The (sub)command that these words name, and what is left of them."""
    context = click.Context(command.main)
    found: click.Command = command.main
    rest = list(words)
    while isinstance(found, click.Group) and rest:
        inner = found.get_command(context, rest[0].strip(","))
        if inner is None:
            break
        found = inner
        rest = rest[1:]
    return found, rest


@by_page
def test_every_command_and_option_exists(page: Path) -> None:
    for line in commands(page.read_text()):
        words = line.replace("[", " ").replace("]", " ").split()
        found, rest = resolve(words)
        is_whole = not isinstance(found, click.Group) or not rest or rest[0].startswith("-")
        assert found is not command.main, f"vigil {line}"
        assert is_whole, f"vigil {line}"
        options = {name for parameter in found.params for name in parameter.opts}
        given = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert given <= options, f"vigil {line}"


@by_page
def test_every_make_target_and_module_exists(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for module in re.findall(r"python -m ((?:infra|policies|tests|vigil)[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@by_page
def test_every_setting_exists(page: Path) -> None:
    rooms = {"serve": ServeSettings, "drift": DriftSettings, "train": TrainSettings}
    for room, key in re.findall(r"`(serve|drift|train)\.([a-z]+[A-Za-z]*)[`:]", page.read_text()):
        field = re.sub(r"([A-Z])", r"_\1", key).lower()
        is_module = (ROOT / room / f"{key}.py").is_file()
        assert is_module or field in rooms[room].model_fields, f"{room}.{key}"


@by_page
def test_every_link_to_a_file_leads_there(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        path = link.partition("#")[0]
        if path and "://" not in path:
            assert (page.parent / path).exists(), link


def test_the_readme_is_short_and_its_sentences_too() -> None:
    assert len(README.splitlines()) <= MAX_README_LINES
    prose = " ".join(
        line
        for line in FENCED.sub("", README).splitlines()
        if line and not line.startswith(("#", "|", "!", "- ", "["))
    )
    sentences = re.split(r"(?<=[.:;!?])\s", re.sub(r"\]\([^)]*\)", "]", prose))
    assert statistics.median(len(sentence.split()) for sentence in sentences) <= MAX_MEDIAN_WORDS


def test_the_answer_of_the_readme_is_json() -> None:
    (answer,) = (block for language, block in FENCED.findall(README) if language == "json")
    assert {"prediction", "anomaly_score", "threshold", "reasons"} <= json.loads(answer).keys()


def test_the_site_is_built_without_a_dead_link(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "glossary" / "index.html").is_file()
