"""Cases of the rules of policies/delivery.py."""

from __future__ import annotations

from tests.policies.table import REMOVED, Break, Case

FIGHTS = "Argo CD would fight Ray's autoscaler: add {}"

DELIVERY_CASES = [
    Case(
        "argocd-revision-named",
        ("application", "spec.source.targetRevision"),
        [
            Break(
                "application",
                "spec.source.targetRevision",
                value,
                "it follows HEAD: set targetRevision to a branch that is protected, a tag or a"
                " chart version",
            )
            for value in ("HEAD", REMOVED)
        ],
    ),
    Case(
        "argocd-leaves-replicas",
        ("application", "spec.ignoreDifferences"),
        [
            Break(
                "application",
                "spec.ignoreDifferences.0.group",
                "apps",
                FIGHTS.replace(
                    "{}", "ignoreDifferences of ray.io for the replicas of worker groups"
                ),
            ),
            Break(
                "application",
                "spec.ignoreDifferences",
                REMOVED,
                FIGHTS.replace(
                    "{}", "ignoreDifferences of ray.io for the replicas of worker groups"
                ),
            ),
            Break(
                "application",
                "spec.ignoreDifferences.0.jqPathExpressions",
                [".status"],
                FIGHTS.replace(
                    "{}", "ignoreDifferences of ray.io for the replicas of worker groups"
                ),
            ),
            Break(
                "application",
                "spec.syncPolicy.syncOptions",
                ["ServerSideApply=true"],
                FIGHTS.replace("{}", "the sync option RespectIgnoreDifferences=true"),
            ),
        ],
    ),
    Case(
        "argocd-server-side",
        ("application", "spec.syncPolicy.syncOptions"),
        [
            Break(
                "application",
                "spec.syncPolicy.syncOptions",
                ["RespectIgnoreDifferences=true"],
                "KubeRay's CRDs exceed the annotation of client-side apply: add the sync option"
                " ServerSideApply=true",
            )
        ],
    ),
]
