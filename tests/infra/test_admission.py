"""What a stack lets its API server refuse."""

from __future__ import annotations

import subprocess
import sys

import pytest

from infra.manifests.admission import admission_manifests
from infra.manifests.parts import Manifest, Manifests
from tests.infra.recorded import ROOT
from tests.infra.rendered import settings_of

_ARGOCD = {"delivery": "argocd", "git_url": "https://git.example/vigil.git"}


def bindings(objects: Manifests) -> dict[str, Manifest]:
    """What a binding does, by rule."""
    kind = "ValidatingAdmissionPolicyBinding"
    return {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == kind}


def namespaces_of(binding: Manifest) -> list[str]:
    return binding["matchResources"]["namespaceSelector"]["matchExpressions"][0]["values"]


def test_nothing_is_applied_unless_a_stack_asks_for_it() -> None:
    assert admission_manifests(settings_of("prod")) == []


@pytest.mark.parametrize(
    ("admission", "mandatory", "advisory"),
    [("deny", "Deny", "Warn"), ("warn", "Warn", "Warn"), ("audit", "Audit", "Audit")],
)
def test_a_binding_does_what_the_level_of_its_rule_says(
    admission: str, mandatory: str, advisory: str
) -> None:
    found = bindings(admission_manifests(settings_of("prod", admission=admission)))
    assert found["pod-not-privileged"]["validationActions"] == [mandatory]
    assert found["labels-complete"]["validationActions"] == [advisory]
    assert found["pod-read-only"]["validationActions"] == [mandatory]  # in prod alone


def test_vigils_own_namespaces_are_judged_and_argocds_objects_where_it_delivers() -> None:
    plain = bindings(admission_manifests(settings_of("dev", admission="warn")))
    assert "argocd-server-side" not in plain
    assert {tuple(namespaces_of(each)) for each in plain.values()} == {("vigil", "vigil-tracking")}
    found = bindings(admission_manifests(settings_of("dev", admission="warn", **_ARGOCD)))
    assert namespaces_of(found["argocd-server-side"]) == ["argocd"]
    assert namespaces_of(found["pod-non-root"]) == ["vigil", "vigil-tracking"]


def params_of(objects: Manifests, rule: str) -> str:
    """The parameters that a policy holds."""
    kind = "ValidatingAdmissionPolicy"
    [policy] = [x for x in objects if x["kind"] == kind and x["metadata"]["name"] == rule]
    return policy["spec"]["variables"][0]["expression"]


def test_an_environment_relaxes_and_sets_what_its_file_says() -> None:
    local = admission_manifests(settings_of("local", admission="deny"))
    assert bindings(local)["image-pinned"]["validationActions"] == ["Warn"]
    assert params_of(local, "node-pool-bounded") == '{"most": dyn(512)}'
    dev = admission_manifests(settings_of("dev", admission="deny"))
    assert params_of(dev, "node-pool-bounded") == '{"most": dyn(84)}'


def test_without_the_rules_it_says_where_they_are() -> None:
    """An installed wheel has infra, and no policies."""
    program = f"""
import sys
sys.modules["policies"] = None
sys.path.insert(0, {str(ROOT)!r})
from infra.manifests.admission import admission_manifests
from tests.infra.rendered import settings_of
try:
    admission_manifests(settings_of("dev", admission="warn"))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("BadSettings")
    assert "needs the folder policies/" in done.stdout
