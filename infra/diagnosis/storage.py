"""What is wrong with claims: a class that is not there, a volume that does not come."""

from __future__ import annotations

from collections.abc import Mapping

from infra.diagnosis.objects import KubeEvent, KubeObject
from infra.diagnosis.report import Diagnoses, Diagnosis, failure, quote
from infra.diagnosis.snapshot import ClusterSnapshot, SeenObject

_PROVISION_ERRORS = ("ProvisioningFailed", "FailedBinding")
_RESTORE = "restore the volume from a backup, or make the claim anew"
_OTHER_MODE = "an access mode that its class cannot give: vigil:homeAccessMode"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"

StorageClasses = Mapping[str, KubeObject]


def diagnose_claims(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield claims without a volume."""
    for claim in snapshot.of("PersistentVolumeClaim"):
        if claim.phase == "Lost":
            yield failure(claim, "its volume is gone", _RESTORE)
        elif claim.phase == "Pending":
            yield from _pending(claim)


def _pending(claim: SeenObject) -> Diagnoses:
    classes = claim.snapshot.by_name("StorageClass")
    event = claim.newest_event(_PROVISION_ERRORS)
    if why := _wrong_class(claim, classes):
        yield failure(claim, why, _choose_from(classes))
    elif event:
        yield _unprovisioned(claim, event)
    elif not _may_wait(claim, classes):
        yield _unexplained(claim)


def _unprovisioned(claim: SeenObject, event: KubeEvent) -> Diagnosis:
    why = f"gets no volume: {quote(event.message)}"
    return failure(claim, why, f"{claim.kubectl('describe pvc')}; {_OTHER_MODE}")


def _unexplained(claim: SeenObject) -> Diagnosis:
    since = claim.duration_since(claim.created_at)
    provisioner = f"the provisioner of storage class {_class_of(claim)!r}"
    why = f"is pending for {since}, and nobody says why"
    return failure(claim, why, f"look at {provisioner}: `kubectl get pods -A`")


def _class_of(claim: KubeObject) -> str | None:
    return claim.value("spec.storageClassName")


def _wrong_class(claim: SeenObject, classes: StorageClasses) -> str:
    """Return what is wrong with the class that a claim names; nothing where it is there."""
    name = _class_of(claim)
    if not claim.snapshot.has("StorageClass"):
        return ""
    if name and name not in classes:
        return f"there is no storage class {name!r}"
    if name is None and not any(map(_is_default, classes.values())):
        return "it names no storage class, and none is the default"
    return ""


def _choose_from(classes: StorageClasses) -> str:
    offered = ", ".join(sorted(classes)) or "none (install a provisioner)"
    return f"set vigil:homeStorageClass to one of: {offered}"


def _may_wait(claim: SeenObject, classes: StorageClasses) -> bool:
    """Return whether it has just been made, or its volume is made once a pod asks for it."""
    return claim.is_starting(claim.created_at) or _waits_for_a_pod(claim, classes)


def _waits_for_a_pod(claim: KubeObject, classes: StorageClasses) -> bool:
    storage_class = classes.get(_class_of(claim) or "")
    mode = storage_class.value("volumeBindingMode") if storage_class else None
    return mode == "WaitForFirstConsumer"


def _is_default(storage_class: KubeObject) -> bool:
    annotations = storage_class.metadata.get("annotations") or {}
    return annotations.get(_DEFAULT_CLASS) == "true"
