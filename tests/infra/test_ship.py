"""The steps of the workflows against a local git remote, a double of GitHub's API and moto's S3."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infra.render import render_manifests
from infra.ship import ship
from infra.stack_settings import ROOT, read_files
from tests.infra.github_double import REPOSITORY, Double, github

TOKEN = "ghs_very-secret"
DIGEST = "sha256:" + "a" * 64
IMAGE = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/vigil@{DIGEST}"
TRAINED = {
    "version": "7",
    "run_id": "r",
    "digest": "d" * 64,
    "metrics": {},
    "verdict": {
        "passed": True,
        "reason": "alert rate 0.011, at most 0.04",
        "checks": [
            {"name": "alert_rate", "value": 0.011, "limit": 0.04, "passed": True, "sentence": ""}
        ],
    },
}


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    with github() as made:
        for name, value in (("API_URL", made.url), ("REPOSITORY", REPOSITORY), ("TOKEN", TOKEN)):
            monkeypatch.setenv(f"GITHUB_{name}", value)
        yield made


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of a local remote with this project's stack files; the working directory."""
    remote, clone = tmp_path / "remote.git", tmp_path / "clone"
    git(tmp_path, "init", "--bare", "--initial-branch", "main", str(remote))
    git(tmp_path, "clone", "--quiet", str(remote), str(clone))
    git(clone, "checkout", "-B", "main")
    for file in ("Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.prod.yaml"):
        shutil.copy(ROOT / file, clone / file)
    git(clone, "add", "--all")
    git(
        clone,
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.com",
        "commit",
        "--quiet",
        "--message",
        "first",
    )
    git(clone, "push", "--quiet", "origin", "main")
    monkeypatch.chdir(clone)
    return clone


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(ship, [*arguments])
    assert result.exit_code == code, result.output
    assert TOKEN not in result.output
    return result


def test_an_image_is_pinned_by_a_pull_request(checkout: Path, double: Double) -> None:
    before = (checkout / "Pulumi.dev.yaml").read_text()
    for _ in range(2):  # a workflow that runs again changes nothing but the text
        run("image", "--env", "dev", "--image", IMAGE, "--push")
    assert git(checkout, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert (checkout / "Pulumi.dev.yaml").read_text() == before
    branch = "image/dev-aaaaaaaaaaaa"
    pinned = git(checkout, "show", f"origin/{branch}:Pulumi.dev.yaml")
    assert f"  vigil:image: {IMAGE}" in pinned
    assert set(before.splitlines()) <= set(pinned.splitlines())
    assert IMAGE in git(
        checkout, "show", f"origin/{branch}:deploy/dev/ray/rayservice-vigil-vigil.yaml"
    )
    assert [(p["head"], p["base"], p["title"]) for p in double.pulls] == [
        (branch, "main", "dev: image aaaaaaaaaaaa")
    ]
    assert {asked[2] for asked in double.asked} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    "reference", ["vigil:latest", f"vigil@{DIGEST[:-1]}", f"vigil@{DIGEST}\n  vigil:protect: false"]
)
def test_an_image_that_is_not_pinned_is_refused(checkout: Path, reference: str) -> None:
    assert "not pinned" in run("image", "--env", "dev", "--image", reference, code=1).output
    assert not git(checkout, "status", "--porcelain")


def test_a_model_that_passed_is_proposed_with_its_verdict(
    checkout: Path, double: Double, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "trained.json").write_text(json.dumps(TRAINED))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    run(
        "model",
        "--env",
        "prod",
        "--result",
        str(tmp_path / "trained.json"),
        "--reason",
        "drift: cpu",
        "--push",
    )
    wanted = json.loads(git(checkout, "show", "origin/model/prod-7:models/prod.json"))
    assert wanted == {"version": "7", "digest": "d" * 64, "reason": "drift: cpu"}
    assert "| alert_rate | 0.011 | 0.04 | yes |" in double.pulls[0]["body"]
    assert "Model version 7: passed" in (tmp_path / "summary.md").read_text()


def test_a_model_that_failed_its_gate_is_not_proposed(
    checkout: Path, double: Double, tmp_path: Path
) -> None:
    refused = {**TRAINED, "verdict": {"passed": False, "reason": "worse", "checks": []}}
    (tmp_path / "trained.json").write_text(json.dumps(refused))
    assert (
        "refused"
        in run(
            "model", "--env", "prod", "--result", str(tmp_path / "trained.json"), "--push"
        ).output
    )
    assert (double.asked, (checkout / "models").exists()) == ([], False)
    (tmp_path / "trained.json").write_text("[]")
    assert (
        "vigil train"
        in run("model", "--env", "prod", "--result", str(tmp_path / "trained.json"), code=1).output
    )


def test_a_preview_is_one_comment_that_is_kept_up_to_date(double: Double, tmp_path: Path) -> None:
    preview = tmp_path / "preview.txt"
    for text in ("\x1b[1m+ create ```", "x" * 200_000):
        preview.write_text(text)
        run(
            "comment",
            "--pr",
            "5",
            "--mark",
            "preview dev",
            "--title",
            "Preview of dev",
            "--file",
            str(preview),
        )
    assert [(a[0], a[1].partition("?")[0]) for a in double.asked] == [
        ("GET", "issues/5/comments"),
        ("POST", "issues/5/comments"),
        ("GET", "issues/5/comments"),
        ("PATCH", "issues/comments/1"),
    ]
    first = double.asked[1][3]["body"]
    assert "````text\n+ create ```\n````" in first
    assert len(double.comments[0]["body"]) < 65_536


@pytest.mark.parametrize("status", [401, 500])
def test_a_refusal_of_githubs_is_told_without_the_token(
    double: Double, tmp_path: Path, status: int
) -> None:
    (tmp_path / "t").write_text("x")
    double.status = status
    told = run(
        "comment", "--pr", "5", "--mark", "m", "--title", "t", "--file", str(tmp_path / "t"), code=1
    ).output
    assert f"GitHub answered {status} to GET issues/5/comments" in told


def test_without_a_token_it_is_said_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    (tmp_path / "t").write_text("x")
    assert (
        "GITHUB_TOKEN"
        in run(
            "comment",
            "--pr",
            "5",
            "--mark",
            "m",
            "--title",
            "t",
            "--file",
            str(tmp_path / "t"),
            code=1,
        ).output
    )


def test_a_new_environment_is_one_file(checkout: Path) -> None:
    """`Pulumi.staging.yaml` alone makes an environment that renders."""
    shutil.copy("Pulumi.dev.yaml", "Pulumi.staging.yaml")
    files = render_manifests(read_files("staging", checkout))
    assert len(files) == len(render_manifests(read_files("dev", checkout)))
    assert "staging" in files["settings.json"]
