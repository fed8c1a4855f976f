"""What Argo CD follows: waves, health, who owns the workloads; and the scripts of the workflows."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import LuaRuntime

from infra.manifests import all_objects
from infra.manifests.bindings import Bindings
from infra.manifests.delivery import SYNC_WAVES, root_application
from infra.manifests.operators import RAY_JOB_HEALTH, RAY_SERVICE_HEALTH, helm_charts
from infra.settings import PlatformSettings, settings_from
from infra.stack_settings import ROOT
from tests.infra.github_double import REPOSITORY, github

WAVE = "argocd.argoproj.io/sync-wave"


@pytest.fixture
def followed() -> PlatformSettings:
    config = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text())["config"]
    given = {key.removeprefix("vigil:"): value for key, value in config.items()}
    return settings_from(
        "prod", {**given, "delivery": "argocd", "gitUrl": "https://git.example/v.git"}
    )


def test_every_object_is_in_the_wave_of_its_folder(followed: PlatformSettings) -> None:
    for folder, objects in all_objects(followed, Bindings()).items():
        assert {one["metadata"]["annotations"][WAVE] for one in objects} <= {
            str(SYNC_WAVES[folder])
        }
    own = all_objects(followed.model_copy(update={"delivery": "pulumi"}), Bindings())
    assert not any(
        WAVE in one["metadata"].get("annotations", {})
        for objects in own.values()
        for one in objects
    )
    assert root_application(followed.model_copy(update={"delivery": "pulumi"})) == []


def test_the_application_syncs_on_the_server_and_leaves_the_autoscalers_fields(
    followed: PlatformSettings,
) -> None:
    project, application = root_application(followed)
    assert "ServerSideApply=true" in application["spec"]["syncPolicy"]["syncOptions"]
    assert {one["kind"] for one in application["spec"]["ignoreDifferences"]} == {
        "RayService",
        "RayCluster",
    }
    kinds = {one["kind"] for one in project["spec"]["clusterResourceWhitelist"]}
    shown = [
        one
        for folder, objects in all_objects(followed, Bindings()).items()
        if folder != "foundation"
        for one in objects
    ]
    assert {one["kind"] for one in shown if "namespace" not in one["metadata"]} <= kinds


def test_notifications_name_what_is_there(followed: PlatformSettings) -> None:
    values = next(chart for chart in helm_charts(followed) if chart.name == "argo-cd").values[
        "notifications"
    ]
    _, application = root_application(followed)
    for subscription in application["metadata"]["annotations"]:
        trigger, service = re.fullmatch(
            r"notifications\.argoproj\.io/subscribe\.([\w-]+)\.(\w+)", subscription
        ).groups()  # type: ignore[union-attr]
        (rule,) = yaml.safe_load(values["triggers"][f"trigger.{trigger}"])
        assert f"service.webhook.{service}" in values["notifiers"]
        template = yaml.safe_load(values["templates"][f"template.{rule['send'][0]}"])
        assert service in template["webhook"]


def health(script: str, found: dict[str, Any]) -> str:
    lua: Any = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(found, recursive=True)
    return lua.execute(script)["status"]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({}, "Progressing"),
        ({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, "Progressing"),
        (
            {"status": {"conditions": [{"type": "UpgradeInProgress", "status": "True"}]}},
            "Progressing",
        ),
        (
            {"status": {"conditions": [{"type": "Ready", "status": "True", "message": "ok"}]}},
            "Healthy",
        ),
    ],
)
def test_the_health_of_a_ray_service(found: dict[str, Any], status: str) -> None:
    assert health(RAY_SERVICE_HEALTH, found) == status


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({}, "Progressing"),
        ({"status": {"jobStatus": "RUNNING"}}, "Progressing"),
        ({"status": {"jobStatus": "SUCCEEDED"}}, "Healthy"),
        ({"status": {"jobStatus": "FAILED", "message": "no"}}, "Degraded"),
        ({"status": {"jobDeploymentStatus": "Failed"}}, "Degraded"),
        ({"spec": {"suspend": True}, "status": {"jobDeploymentStatus": "Suspended"}}, "Suspended"),
    ],
)
def test_the_health_of_a_ray_job(found: dict[str, Any], status: str) -> None:
    assert health(RAY_JOB_HEALTH, found) == status


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [
        step
        for job in yaml.safe_load(workflow.read_text())["jobs"].values()
        for step in job["steps"]
    ]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_and_calls_what_is_here(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {}
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
        for line in step.get("run", "").splitlines():
            word = line.split()[0]
            if word.startswith(".ci/"):
                assert (ROOT / word).stat().st_mode & stat.S_IXUSR
            elif word == "make":
                assert re.search(
                    rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE
                )
            else:
                assert word in (".venv/bin/vigil", "cosign", "gh", "helm")


class Tools:
    """A copy of the scripts with `make`, `pulumi` and `vigil` that write down their calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "calls"
        for name in ("pulumi", "train", "promote", "size", "release", "verify"):
            copy = folder / ".ci" / name
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes((ROOT / ".ci" / name).read_bytes())
            copy.chmod(0o755)
        for tool in ("bin/make", "bin/pulumi", "bin/uv", "bin/gh", ".venv/bin/vigil"):
            path = folder / tool
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                f'#!/usr/bin/env bash\necho "{path.name} $*" >> {self.log}\n'
                'echo "{}"\nexit "${FAILS:-0}"\n'
            )
            path.chmod(0o755)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            [str(self.folder / ".ci" / command[0]), *command[1:]],
            env={**os.environ, "PATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)


@pytest.mark.parametrize(
    ("action", "call"),
    [
        ("preview", "pulumi preview --stack dev --diff --color never"),
        ("up", "pulumi up --stack dev --yes --color never"),
        ("drift", "pulumi preview --stack dev --refresh --expect-no-changes --color never"),
    ],
)
def test_a_stack_is_never_changed_without_its_policies(
    tools: Tools, action: str, call: str
) -> None:
    assert tools.run("pulumi", action, "dev").returncode == 0
    pack = "--policy-pack policies --policy-pack-config policies/environments/dev.json"
    assert tools.calls == ["make dev", f"{call} {pack}"]
    assert tools.run("pulumi", "destroy", "dev").returncode == 2
    assert tools.run("pulumi", action, "dev", FAILS="1").returncode == 1


def test_training_hands_its_result_to_the_proposal(tools: Tools) -> None:
    asked = {
        "DATA": "s3://rows/x.parquet",
        "EPISODE": "17-3",
        "ENVIRONMENT": "prod",
        "REASON": "drift: cpu; $(id)",
    }
    assert tools.run("train", **asked).returncode == 0
    assert tools.calls[1:] == [
        "vigil render settings --env prod --out settings.yaml",
        "vigil train --data s3://rows/x.parquet --trigger drift --key 17-3 --json",
        "vigil ship model --env prod --result trained.json --reason drift: cpu; $(id) --push",
    ]
    assert (tools.folder / "trained.json").read_text() == "{}\n"
    assert tools.run("train", **asked, FAILS="1").returncode == 1
    assert sum("ship" in call for call in tools.calls) == 1  # what was not trained is not proposed


def test_a_merged_model_is_promoted_and_without_one_nothing_happens(tools: Tools) -> None:
    assert "nothing to promote" in tools.run("promote", "prod").stdout
    (tools.folder / "models").mkdir()
    (tools.folder / "models" / "prod.json").write_text(
        json.dumps({"version": "7", "reason": "drift: cpu"})
    )
    assert tools.run("promote", "prod").returncode == 0
    assert tools.calls == ["make dev", "vigil promote 7 --reason drift: cpu"]


def test_a_release_is_built_of_the_version_that_was_tagged(tools: Tools) -> None:
    (tools.folder / "dist").mkdir()
    for name in ("vigil_anomaly-1.2.3-py3-none-any.whl", "vigil-1.2.3.tgz", "sbom.cdx.json"):
        (tools.folder / "dist" / name).write_text(name)
    assert tools.run("release", "v1.2.3").returncode == 0
    assert [call.split()[0] for call in tools.calls] == ["make", "uv", "vigil"]
    assert len((tools.folder / "dist" / "SHA256SUMS").read_text().splitlines()) == 3
    told = tools.run("release", "v1.2.4")
    assert (told.returncode, "set it to 1.2.4" in told.stderr) == (1, True)


DOWNLOADING = """#!/usr/bin/env bash
echo "gh $*" >> {log}
[ "$2" = verify ] && exit "${{FAILS:-0}}"
cd "${{!#}}"
echo wheel > vigil_anomaly-1.2.3-py3-none-any.whl
echo chart > vigil-1.2.3.tgz
echo parts > sbom.cdx.json
sha256sum *.whl *.tgz sbom.cdx.json > SHA256SUMS
[ -z "${{TAMPERED:-}}" ] || echo another > "$TAMPERED"
"""


def test_a_release_is_verified_by_sums_provenance_and_parts(tools: Tools) -> None:
    gh = tools.folder / "bin" / "gh"
    gh.write_text(DOWNLOADING.format(log=tools.log))
    asked = ("verify", "v1.2.3", "acme/vigil")
    assert tools.run(*asked).returncode == 0
    assert len(tools.calls) == 5
    signer = "--signer-workflow acme/vigil/.github/workflows/release.yml"
    assert all(signer in call and "refs/tags/v1.2.3" in call for call in tools.calls[1:])
    assert "--predicate-type https://cyclonedx.org/bom" in tools.calls[-1]
    assert tools.run(*asked, FAILS="1").returncode == 1
    assert tools.run(*asked, TAMPERED="vigil-1.2.3.tgz").returncode == 1


@pytest.mark.parametrize(("megabytes", "code"), [(3500, 0), (3501, 1)])
def test_an_image_has_a_size_budget(tools: Tools, megabytes: int, code: int) -> None:
    docker = tools.folder / "bin" / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1" = pull ] || echo {megabytes}000001\n')
    docker.chmod(0o755)
    told = tools.run("size", "vigil@sha256:1", "3500")
    assert told.returncode == code
    assert f"{megabytes} MB of 3500" in told.stdout


def test_the_event_of_the_governor_is_the_one_that_the_workflow_hears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VIGIL_DRIFT_GITHUB_TOKEN", "t")

    from drift.dispatch import RETRAIN_EVENT, dispatch
    from drift.settings import DriftSettings

    text = (ROOT / ".github" / "workflows" / "train-model.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["on"]["repository_dispatch"]["types"] == [RETRAIN_EVENT]
    payload = {"model": "vigil", "reason": "why", "episode": "1", "data": "x"}
    with github() as double:
        dispatch(payload, DriftSettings(github_url=double.url, github_repository=REPOSITORY))
    (_, path, _, body) = double.asked[0]
    assert (path, body["event_type"]) == ("dispatches", RETRAIN_EVENT)
    assert (
        set(body["client_payload"])
        == set(re.findall(r"client_payload\.(\w+)", text))
        == set(workflow["on"]["workflow_dispatch"]["inputs"])
    )
