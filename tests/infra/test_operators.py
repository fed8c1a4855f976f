"""The Helm releases: in order, bounded, and from a mirror where there is one."""

from __future__ import annotations

import pytest

from infra.manifests.operators import HelmChart, helm_charts
from infra.stack_settings import read_files

STACKS = ("dev", "prod", "local")


def of(stack: str, **changes: str) -> dict[str, HelmChart]:
    settings = read_files(stack).model_copy(update=changes)
    return {chart.name: chart for chart in helm_charts(settings)}


@pytest.mark.parametrize("stack", STACKS)
def test_a_release_stands_behind_those_that_it_needs(stack: str) -> None:
    seen: set[str] = set()
    for name, chart in of(stack).items():
        assert set(chart.needs) <= seen
        seen.add(name)


def test_karpenter_waits_for_its_definitions() -> None:
    assert of("prod")["karpenter"].needs == ("karpenter-crd",)


def test_the_operator_has_rights_in_one_namespace_and_no_limit_of_the_charts_own() -> None:
    values = of("local")["kuberay-operator"].values
    assert values["singleNamespaceInstall"] is True
    assert values["watchNamespace"] == ["vigil"]
    # Helm merges what is given over the chart's own values, where the limit is 100m.
    assert values["resources"]["limits"]["cpu"] == "1"


def test_what_works_for_the_platform_makes_way_for_none_of_its_pods() -> None:
    operator = of("local")["kuberay-operator"].values
    monitoring = of("prod")["kube-prometheus-stack"].values
    specs = (
        operator,
        monitoring["prometheus"]["prometheusSpec"],
        monitoring["alertmanager"]["alertmanagerSpec"],
        of("prod", delivery="argocd")["argo-cd"].values["global"],
        of("prod", delivery="argocd", image_registry="mirror.example.com")["argo-cd"].values[
            "global"
        ],
    )
    assert {spec["priorityClassName"] for spec in specs} == {"vigil-platform"}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("repository", ["https://charts.example.com", "oci://charts.example.com/x"])
def test_every_chart_comes_from_the_mirror(stack: str, repository: str) -> None:
    for chart in of(stack, chart_repository=repository).values():
        where = chart.repository or chart.chart
        assert where.startswith(repository)
        assert chart.chart.rpartition("/")[2] == chart.name


def test_images_of_charts_come_from_the_mirror() -> None:
    found = of("prod", image_registry="mirror.example.com/hub")
    assert found["kuberay-operator"].values["image"]["repository"] == (
        "mirror.example.com/hub/kuberay/operator"
    )
    for chart in found.values():
        assert not chart.values or "mirror.example.com/hub" in str(chart.values), chart.name
    assert "quay.io/kuberay/operator" in str(of("prod")["kuberay-operator"].values)
