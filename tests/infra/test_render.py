"""`vigil render` and `vigil doctor change`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from infra.cli import doctor, render
from infra.doctor import EFFECTS, RenderedChange, compare_renderings
from infra.render import render_manifests, write_manifests
from infra.stack_settings import read_files
from serve.settings import ServeSettings
from tests.infra.recorded import CANARY, STACKS, changed, recorded
from vigil.errors import BadSettings

LOCAL_ONLY = {"Secret", "Release"}


def with_(stack: str = "prod", **values: Any) -> dict[str, str]:
    return render_manifests(changed(stack, **values))


def edited(path: str, old: str, new: str) -> dict[str, str]:
    files = with_()
    assert old in files[path]
    return files | {path: files[path].replace(old, new)}


@pytest.mark.parametrize("stack", STACKS)
def test_a_rendering_repeats_and_leaves_no_stale_file(stack: str, tmp_path: Path) -> None:
    files = write_manifests(stack, tmp_path)
    first = {file: file.read_bytes() for file in files}
    stale = tmp_path / "ray" / "old.yaml"
    stale.write_text("kind: Old")
    assert {file: file.read_bytes() for file in write_manifests(stack, tmp_path)} == first
    assert not stale.exists()


@pytest.mark.parametrize("stack", STACKS)
def test_what_is_rendered_is_what_pulumi_applies(stack: str) -> None:
    """Object by object, but for secrets, charts and what only AWS knows."""
    applied = {
        (
            r.inputs["kind"],
            r.inputs["metadata"].get("namespace"),
            r.inputs["metadata"]["name"],
        ): r.inputs
        for r in recorded(stack).of("kubernetes:")
        if r.type.split(":")[-1] not in LOCAL_ONLY
    }
    files = [
        yaml.safe_load(text)
        for path, text in render_manifests(read_files(stack)).items()
        if path.endswith(".yaml")
    ]
    written = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]): o for o in files}
    unknown = (
        {
            ("StorageClass", None, "vigil-home"),
            ("ConfigMap", "vigil-tracking", "database"),
            ("ConfigMap", "vigil", "incident-database"),
        }
        if stack != "local"
        else set()
    )
    assert applied.keys() - written.keys() == unknown
    assert written.keys() <= applied.keys()
    for key, one in written.items():
        if (key[0], stack) != ("RayService", "prod"):  # its Redis address is AWS' to give
            assert applied[key] == one, key


@pytest.mark.parametrize("stack", STACKS)
def test_no_secret_is_rendered(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "VIGIL_SERVE_MODEL_NAME", CANARY
    )  # nor does the shell of who renders leak in
    text = "\n".join(render_manifests(read_files(stack)).values())
    assert CANARY not in text
    assert "kind: Secret\n" not in text


def only(found: list[RenderedChange], effect: str) -> list[RenderedChange]:
    return [change for change in found if change.effect == effect]


def test_a_new_image_makes_a_second_cluster() -> None:
    found = compare_renderings(with_(), with_(image_tag="0.2.0"))
    (second,) = only(found, "second cluster")
    assert second.where == "RayService/vigil/vigil"
    assert second.doubles == "6 pods, 15 CPU, 35 GiB"
    assert second.seconds == 780
    assert only(found, "rolling pods")[0].where == "Deployment/vigil-tracking/mlflow"


STEP_BY_STEP = {
    "ingress": "gateway",
    "upgrade_strategy": "NewClusterWithIncrementalUpgrade",
    "upgrade_step_percent": 30,
    "upgrade_interval_s": 20,
}


def test_requests_move_to_a_second_cluster_step_by_step_where_a_stack_asks_for_it() -> None:
    found = compare_renderings(with_(**STEP_BY_STEP), with_(**STEP_BY_STEP, image_tag="0.2.0"))
    (second,) = only(found, "second cluster")
    assert second.what.endswith("(requests move by 30 % every 20 s)")
    assert second.seconds == 780 + 4 * 20


def test_another_way_of_upgrades_has_another_gateway_and_makes_no_second_cluster() -> None:
    at_once = with_(ingress="gateway")
    step_by_step = with_(**STEP_BY_STEP)
    assert {
        "delivery/gateway-vigil-vigil.yaml",
        "delivery/httproute-vigil-vigil.yaml",
    } == at_once.keys() - step_by_step.keys()
    for files, gateway in (
        ((at_once, step_by_step), "vigil-gateway, which KubeRay makes"),
        ((step_by_step, at_once), "the stack's own"),
    ):
        found = compare_renderings(*files)
        assert not only(found, "second cluster")
        (replaced,) = only(found, "replacement")
        assert gateway in replaced.what


@pytest.mark.parametrize(
    ("values", "where", "effect"),
    [
        ({"serve": {"max_replicas": 90}}, "RayService/vigil/vigil", "in-process"),
        ({"max_workers": 30}, "RayService/vigil/vigil", "in place"),
        ({"serve": {"cpus_per_replica": 0.5}}, "RayService/vigil/vigil", "rolling restart"),
        ({"serve": {"body_timeout_s": 5}}, "RayService/vigil/vigil", "second cluster"),
        ({"drift": {"mode": "observe"}}, "RayService/vigil/vigil", "reconfigure"),
        ({"train": {"seed": 7}}, "ConfigMap/vigil/settings", "in-process"),
        ({"haproxy": False}, "RayService/vigil/vigil", "second cluster"),
        ({"train_memory_gib": 32}, "RayCluster/vigil/vigil-train", "replacement"),
        ({"spot_serving": False}, "NodePool/ray-serve", "rolling nodes"),
        ({"vpc_cidr": "10.60.0.0/16"}, "settings/vpc_cidr", "replacement"),
        ({"zones": ["a", "b"]}, "settings/zones", "replacement"),
        (
            {"monitoring": False, "alert_receiver": "none"},
            "PrometheusRule/vigil-monitoring/vigil",
            "in place",
        ),
    ],
)
def test_each_kind_of_change_has_its_effect(
    values: dict[str, Any], where: str, effect: str
) -> None:
    found = compare_renderings(with_(), with_(**values))
    assert effect in {change.effect for change in found if change.where == where}
    assert [list(EFFECTS).index(c.effect) for c in found] == sorted(
        (list(EFFECTS).index(c.effect) for c in found), reverse=True
    )


def test_user_config_is_reconfigured_and_nothing_else_restarts() -> None:
    found = compare_renderings(
        with_(), edited("ray/rayservice-vigil-vigil.yaml", "poll_s: 30.0", "poll_s: 5.0")
    )
    assert [(c.effect, c.what) for c in found] == [
        ("reconfigure", "serveConfigV2: applications.vigil.deployments.Detector.user_config.poll_s")
    ]


def test_no_difference_is_no_change_and_an_added_zone_replaces_nothing() -> None:
    assert compare_renderings(with_(), with_()) == []
    dev = with_("dev")
    assert not only(compare_renderings(dev, with_("dev", zones=["a", "b", "c"])), "replacement")


def test_a_removed_claim_is_a_replacement() -> None:
    files = with_()
    assert only(
        compare_renderings(
            files, {k: v for k, v in files.items() if "persistentvolumeclaim" not in k}
        ),
        "replacement",
    )


def test_the_commands_render_and_compare_folders_and_revisions(tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(render, ["--env", "prod", "--out", str(tmp_path / "a"), "--json"])
    assert done.exit_code == 0, done.output
    service = tmp_path / "b" / "ray" / "rayservice-vigil-vigil.yaml"
    write_manifests("prod", tmp_path / "b")
    service.write_text(service.read_text().replace(":0.1.0", ":0.2.0"))
    done = runner.invoke(
        doctor, ["change", "--from", str(tmp_path / "a"), "--to", str(tmp_path / "b"), "--json"]
    )
    assert [one["effect"] for one in json.loads(done.output)["changes"]] == ["second cluster"]
    done = runner.invoke(
        doctor, ["change", "--from", "no-such-revision", "--to", str(tmp_path / "b"), "--json"]
    )
    assert done.exit_code == 2
    assert "neither a folder nor a git revision" in done.output
    done = runner.invoke(render, ["--env", "staging", "--out", str(tmp_path / "c"), "--json"])
    assert done.exit_code == 2
    assert "environments here: dev" in done.output


def test_the_settings_of_a_stack_are_a_file_for_a_training_that_runs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "vigil.yaml"
    done = CliRunner().invoke(render, ["settings", "--env", "prod", "--out", str(file)])
    assert done.exit_code == 0, done.output
    monkeypatch.setenv("VIGIL_CONFIG", str(file))
    assert ServeSettings().min_replicas == read_files("prod").serve.min_replicas


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "holds no rendered manifests"),
        ({"settings.json": "{}"}, "holds no rendered manifests"),
        ({"ray/a.yaml": "a: [1"}, "a.yaml is no rendered file"),
        ({"ray/a.yaml": "replicas: 1"}, "holds no single object of Kubernetes"),
        ({"ray/a.yaml": "- 1"}, "holds no single object of Kubernetes"),
        ({"ray/a.yaml": "kind: Pod"}, "holds no single object of Kubernetes"),
        ({"ray/a.yaml": "kind: Pod\n---\nkind: Pod"}, "a.yaml is no rendered file"),
        ({"ray/a.yaml": ""}, "holds no single object of Kubernetes"),
    ],
)
def test_a_folder_that_is_no_rendering_is_not_called_unchanged(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    folder = str(tmp_path)
    done = CliRunner().invoke(doctor, ["change", "--from", folder, "--to", folder])
    assert done.exit_code == 2
    assert reason in done.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1", "is no YAML"),
        ("- 1", "`config` must have keys"),
        ("config: [1]", "`config` must have keys"),
    ],
)
def test_a_file_of_a_stack_that_is_none_ends_in_a_sentence(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "Pulumi.odd.yaml").write_text(text)
    with pytest.raises(BadSettings, match=reason):
        read_files("odd", tmp_path)
