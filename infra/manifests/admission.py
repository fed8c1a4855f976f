"""What the API server itself refuses: the rules of policies/, as objects of the stack."""

from __future__ import annotations

from infra.manifests.bindings import (
    ARGOCD_NAMESPACE,
    OPERATORS_NAMESPACE,
    RAY_NAMESPACE,
    TRACKING_NAMESPACE,
)
from infra.manifests.parts import Manifests
from infra.settings import PlatformSettings
from vigil.errors import BadSettings


def admission_manifests(settings: PlatformSettings) -> Manifests:
    """A policy and its binding a rule, at the levels of the environment.

    Where charts of others run (operators, monitoring, Argo CD) no pod is judged: CrossGuard sees
    none there either. Raises BadSettings where the rules are not here.
    """
    if settings.admission == "off":
        return []
    try:
        from policies.admission import AdmissionScope, admission_objects
    except ImportError as error:
        needed = "needs the folder policies/ of Vigil's repository, and the library pulumi-policy"
        raise BadSettings(f"admission: {needed} ({error}): `make dev` there") from error
    scope = AdmissionScope(
        namespaces=(RAY_NAMESPACE, TRACKING_NAMESPACE),
        controllers=("kube-system", OPERATORS_NAMESPACE),
        applications=(ARGOCD_NAMESPACE,) if settings.delivery == "argocd" else (),
    )
    return admission_objects(settings.environment, settings.admission, scope)
