"""The Helm chart.

Its defaults are the rendered manifests, its repository is valid, a version is never replaced.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from infra.chart import ChartFailed, chart_files, pack_chart, render_chart
from infra.chart_repository import CHART_INDEX, publish_chart
from infra.render import SETTINGS_JSON, render_manifests
from infra.stack_settings import read_files


@pytest.fixture(scope="module", params=["dev", "prod"])
def environment(request: pytest.FixtureRequest) -> str:
    return request.param


def test_with_its_defaults_it_gives_exactly_the_rendered_manifests(environment: str) -> None:
    settings = read_files(environment)
    files = chart_files(settings, "1.2.3")
    wanted = {
        path: text
        for path, text in render_manifests(settings).items()
        if path != SETTINGS_JSON and not path.startswith("foundation/")
    }
    assert render_chart(files) == wanted
    about = yaml.safe_load(files["Chart.yaml"])
    assert (about["name"], about["version"]) == ("vigil", "1.2.3")


def test_values_reach_every_place() -> None:
    files = chart_files(read_files("prod"), "1.2.3")
    given = {
        "image": "mine/vigil@sha256:1",
        "minReplicas": 1234,
        "maxReplicas": 5678,
        "host": "here.example",
    }
    made = "".join(render_chart(files, given).values())
    before = "".join(render_chart(files).values())
    defaults = yaml.safe_load(files["values.yaml"])
    assert defaults.keys() == given.keys()
    for name in ("image", "host"):
        assert made.count(given[name]) == before.count(str(defaults[name])) > 0
        assert str(defaults[name]) not in made
    assert "min_replicas: 1234" in made
    assert "max_replicas: 5678" in made


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not here")
def test_helm_makes_the_same(environment: str, tmp_path: Path) -> None:
    files = chart_files(read_files(environment), "1.2.3")
    (tmp_path / "vigil.tgz").write_bytes(pack_chart(files))
    # A build of Helm that names no version of Kubernetes takes a very old one.
    command = [
        "helm",
        "template",
        "--kube-version",
        f"{read_files(environment).kubernetes_version}.0",
    ]
    ran = subprocess.run(
        [*command, "vigil", str(tmp_path / "vigil.tgz")], capture_output=True, text=True, check=True
    )
    made = [one for one in yaml.safe_load_all(ran.stdout) if one]
    wanted = [yaml.safe_load(text) for text in render_chart(files).values()]
    key = str
    assert sorted(made, key=key) == sorted(wanted, key=key)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="charts")
        yield client


def index(client: Any) -> dict[str, Any]:
    return yaml.safe_load(client.get_object(Bucket="charts", Key=CHART_INDEX)["Body"].read())


def test_the_repository_lists_each_version_with_its_digest(bucket: Any) -> None:
    packages = {
        version: pack_chart(chart_files(read_files("dev"), version))
        for version in ("0.1.0", "0.2.0")
    }
    for version, package in packages.items():
        key = publish_chart(package, version, "charts", bucket)
        assert bucket.get_object(Bucket="charts", Key=key)["Body"].read() == package
        publish_chart(package, version, "charts", bucket)  # a workflow that runs again
    found = index(bucket)
    assert found["apiVersion"] == "v1"
    assert [(one["version"], one["digest"], one["urls"]) for one in found["entries"]["vigil"]] == [
        (version, hashlib.sha256(packages[version]).hexdigest(), [f"vigil-{version}.tgz"])
        for version in ("0.2.0", "0.1.0")
    ]
    with pytest.raises(ChartFailed, match="raise the version"):
        publish_chart(packages["0.1.0"], "0.2.0", "charts", bucket)


def test_the_package_is_helms_and_the_same_each_time() -> None:
    files = chart_files(read_files("dev"), "0.1.0")
    assert pack_chart(files) == pack_chart(dict(reversed(files.items())))
    with tarfile.open(fileobj=io.BytesIO(pack_chart(files))) as tar:
        assert {
            "vigil/Chart.yaml",
            "vigil/values.yaml",
            "vigil/templates/ray/rayservice-vigil-vigil.yaml",
        } <= set(tar.getnames())


@pytest.mark.parametrize("version", ["1", "v1.0.0", "1.0.0/../x", ""])
def test_a_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(ChartFailed, match="SemVer"):
        chart_files(read_files("dev"), version)
