"""Argo CD: what it follows, and what it has to leave alone."""

from __future__ import annotations

from policies.rule import Context, Found, Props, rule

APPLICATION = "kubernetes:argoproj.io/*:Application"


@rule(
    APPLICATION,
    message="it follows {}: set targetRevision to a branch that is protected, a tag or a chart version",
    fix="Name a revision; HEAD and * deploy whatever was pushed last.",
    severity="medium",
)
def argocd_revision_named(application: Props, _: Context) -> Found:
    """An application follows a revision that somebody chose."""
    spec = application.get("spec") or {}
    sources = [*([spec["source"]] if spec.get("source") else ()), *(spec.get("sources") or ())]
    wrong = {str(each.get("targetRevision") or "HEAD") for each in sources}
    return ", ".join(sorted(revision for revision in wrong if revision in ("HEAD", "*", "latest")))


def _delivers_ray(application: Props, charts: list[str]) -> bool:
    spec = application.get("spec") or {}
    sources = [*([spec["source"]] if spec.get("source") else ()), *(spec.get("sources") or ())]
    return any(each.get("path") or each.get("chart") in charts for each in sources)


CHARTS = {
    "charts": {
        "type": "array",
        "items": {"type": "string"},
        "default": ["vigil"],
        "description": "charts that hold Ray objects; applications from a folder of manifests are always judged",
    }
}


@rule(
    APPLICATION,
    message="Argo CD would fight Ray's autoscaler: add {}",
    fix="Ignore /spec/rayClusterConfig/workerGroupSpecs/*/replicas of RayService and respect that on sync.",
    severity="high",
    params=CHARTS,
)
def argocd_leaves_replicas(application: Props, context: Context) -> Found:
    """Argo CD leaves alone what Ray's autoscaler writes."""
    if not _delivers_ray(application, list(context.params["charts"])):
        return None
    spec = application.get("spec") or {}
    ignored = any(
        each.get("group") == "ray.io"
        and any(
            "replicas" in path
            for path in [*(each.get("jsonPointers") or ()), *(each.get("jqPathExpressions") or ())]
        )
        for each in spec.get("ignoreDifferences") or ()
    )
    missing = [] if ignored else ["ignoreDifferences of ray.io for the replicas of worker groups"]
    if "RespectIgnoreDifferences=true" not in list(
        (spec.get("syncPolicy") or {}).get("syncOptions") or ()
    ):
        missing.append("the sync option RespectIgnoreDifferences=true")
    return " and ".join(missing)


@rule(
    APPLICATION,
    message="KubeRay's CRDs exceed the annotation of client-side apply: add the sync option ServerSideApply=true",
    fix="Add ServerSideApply=true to spec.syncPolicy.syncOptions.",
    severity="medium",
    params=CHARTS,
)
def argocd_server_side(application: Props, context: Context) -> Found:
    """Argo CD applies on the server."""
    options = list(
        ((application.get("spec") or {}).get("syncPolicy") or {}).get("syncOptions") or ()
    )
    return (
        _delivers_ray(application, list(context.params["charts"]))
        and "ServerSideApply=true" not in options
    )
