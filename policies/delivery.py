"""Argo CD: what it follows, and what it has to leave alone."""

from __future__ import annotations

from collections.abc import Sequence

from policies.cel import Cel, as_cel
from policies.params import strings
from policies.rule import Violation, rule
from policies.subjects import Context, Props, list_at, value_at

_APPLICATION = "kubernetes:argoproj.io/*:Application"
_MOVING_REVISIONS = ("HEAD", "*", "latest")
_IGNORED_REPLICAS = "ignoreDifferences of ray.io for the replicas of worker groups"
_RESPECTED = "the sync option RespectIgnoreDifferences=true"
_DELIVERS_RAY = (
    'variables.sources.exists(s, s.?path.orValue("") != ""'
    ' || s.?chart.orValue("") in variables.params.charts)'
)
_SYNC_OPTIONS = "it.props.spec.?syncPolicy.?syncOptions.orValue([])"
_IGNORES_REPLICAS = (
    "it.props.spec.?ignoreDifferences.orValue([])"
    '.exists(d, d.?group.orValue("") == "ray.io" && (d.?jsonPointers.orValue([])'
    ' + d.?jqPathExpressions.orValue([])).exists(p, p.contains("replicas")))'
)
_CHARTS = {
    "charts": strings(
        "charts that hold Ray objects; applications from a folder of manifests are always judged",
        ["vigil"],
    )
}


def _sources(application: Props) -> list[Props]:
    sources = (value_at(application, "spec.source"), *list_at(application, "spec.sources"))
    return [source for source in sources if source]


@rule(
    _APPLICATION,
    message="it follows {}: set targetRevision to a branch that is protected, a tag or a chart"
    " version",
    fix="Name a revision; HEAD and * deploy whatever was pushed last.",
    severity="medium",
    cel=Cel(
        found=f"{as_cel(sorted(_MOVING_REVISIONS))}.filter(m, variables.sources"
        '.exists(s, s.?targetRevision.orValue("HEAD") == m)).join(", ")'
    ),
)
def argocd_revision_named(application: Props, _: Context) -> Violation:
    """An application follows a revision that somebody chose."""
    moving = _revisions(application).intersection(_MOVING_REVISIONS)
    return ", ".join(sorted(moving))


def _revisions(application: Props) -> set[str]:
    sources = _sources(application)
    return {str(source.get("targetRevision") or "HEAD") for source in sources}


def _delivers_ray(application: Props, context: Context) -> bool:
    charts = list(context.params["charts"])
    sources = _sources(application)
    return any(source.get("path") or source.get("chart") in charts for source in sources)


def _sync_options(application: Props) -> Sequence[str]:
    return list(list_at(application, "spec.syncPolicy.syncOptions"))


@rule(
    _APPLICATION,
    message="Argo CD would fight Ray's autoscaler: add {}",
    fix="Ignore /spec/rayClusterConfig/workerGroupSpecs/*/replicas of RayService and respect that"
    " on sync.",
    severity="high",
    params=_CHARTS,
    cel=Cel(
        found=f"({_DELIVERS_RAY} ? ({_IGNORES_REPLICAS} ? [] : [{as_cel(_IGNORED_REPLICAS)}])"
        f' + ("RespectIgnoreDifferences=true" in {_SYNC_OPTIONS} ? [] : [{as_cel(_RESPECTED)}])'
        ' : []).join(" and ")'
    ),
)
def argocd_leaves_replicas(application: Props, context: Context) -> Violation:
    """Argo CD leaves alone what Ray's autoscaler writes."""
    if not _delivers_ray(application, context):
        return None
    missing: list[str] = []
    if not any(map(_ignores_replicas, list_at(application, "spec.ignoreDifferences"))):
        missing.append(_IGNORED_REPLICAS)
    if "RespectIgnoreDifferences=true" not in _sync_options(application):
        missing.append(_RESPECTED)
    return " and ".join(missing)


def _ignores_replicas(difference: Props) -> bool:
    if difference.get("group") != "ray.io":
        return False
    expressions = list_at(difference, "jqPathExpressions")
    paths = (*list_at(difference, "jsonPointers"), *expressions)
    return any("replicas" in path for path in paths)


@rule(
    _APPLICATION,
    message="KubeRay's CRDs exceed the annotation of client-side apply: add the sync option"
    " ServerSideApply=true",
    fix="Add ServerSideApply=true to spec.syncPolicy.syncOptions.",
    severity="medium",
    params=_CHARTS,
    cel=Cel(f'{_DELIVERS_RAY} && !("ServerSideApply=true" in {_SYNC_OPTIONS})'),
)
def argocd_server_side(application: Props, context: Context) -> Violation:
    """Argo CD applies on the server."""
    options = _sync_options(application)
    return _delivers_ray(application, context) and "ServerSideApply=true" not in options
