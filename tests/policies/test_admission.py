"""What CrossGuard refuses at preview a real API server refuses too, in the same words."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.admission import AdmissionAction, AdmissionScope, admission_objects, rule_forms
from policies.rules import POLICIES, RULES
from policies.subjects import matches
from tests.apiserver import Answer, ApiServer, needs_apiserver, running_apiserver
from tests.infra.recorded import STACKS
from tests.infra.rendered import objects_of, settings_of
from tests.policies.admitted import BASES, LEAST, env
from tests.policies.admitted_ways import WAYS
from tests.policies.harness import Given, run
from tests.running import eventually

ROOT = Path(__file__).parents[2]
BOTH = sorted(each.rule.name for each in rule_forms() if each.has_both)
POLICY = {policy.name: policy for policy in POLICIES}
NAMESPACES = ("vigil", "vigil-tracking")
SCOPE = AdmissionScope(NAMESPACES, ("kube-system", "vigil-operators"), applications=("vigil",))
OTHERS_KINDS = (
    ("karpenter.sh/v1", "NodePool", "Cluster"),
    ("karpenter.k8s.aws/v1", "EC2NodeClass", "Cluster"),
    ("argoproj.io/v1alpha1", "Application", "Namespaced"),
    ("ray.io/v1", "RayService", "Namespaced"),
    ("ray.io/v1", "RayCluster", "Namespaced"),
    ("ray.io/v1", "RayJob", "Namespaced"),
)
_WARNED = re.compile(r"ValidatingAdmissionPolicy '([a-z0-9-]+)'")


@contextmanager
def judging(folder: Path, action: AdmissionAction) -> Iterator[ApiServer]:
    """An API server that knows all kinds, and has the policies of no environment."""
    with running_apiserver(folder) as running:
        for crd in (*_ray_definitions(), *map(_bare_definition, OTHERS_KINDS)):
            answer = running.create(crd)
            assert answer.status in (201, 409), answer.message
        for api, kind, _ in OTHERS_KINDS:
            eventually(lambda api=api, kind=kind: running.knows(api, kind))
        for name in (*NAMESPACES, "elsewhere"):
            assert running.create(_namespace(name)).status == 201
        for each in admission_objects("", action, SCOPE):
            answer = running.create(each)
            assert answer.status == 201, answer.message
        for name in BOTH:
            bad = WAYS[name].objects(WAYS[name].bad)[0]
            eventually(lambda name=name, bad=bad: _judged(name, running.create(bad, dry=True)))
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One that warns: of every rule that an object breaks."""
    with judging(tmp_path_factory.mktemp("warning"), "warn") as running:
        yield running


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One that refuses what breaks a mandatory rule."""
    with judging(tmp_path_factory.mktemp("strict"), "deny") as running:
        yield running


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _told(name: str, answer: Answer) -> bool:
    """Whether an answer names a rule; one that refuses names the first of them alone."""
    return f"'{name}'" in " ".join((answer.message, *answer.warnings))


def _judged(name: str, answer: Answer) -> bool:
    return _told(name, answer) or answer.status == 422


def _ray_definitions() -> Iterator[dict[str, Any]]:
    """KubeRay's own, where their folder is known."""
    folder = Path(os.environ.get("VIGIL_TEST_CRDS", ROOT.parent / "shared" / "crds"))
    for file in sorted(folder.glob("ray.io_ray[cjs]*.yaml")):
        yield yaml.load(file.read_text(), yaml.CSafeLoader)


def _bare_definition(of: tuple[str, str, str]) -> dict[str, Any]:
    """A kind without a schema: any field is kept."""
    api, kind, scope = of
    group, _, version = api.partition("/")
    plural = f"{kind.lower()}{'es' if kind.endswith('s') else 's'}"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    one = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope, "names": names, "versions": [one]},
    }


def _warned(answer: Answer) -> set[str]:
    """The rules that an answer warns of; anything but a warning is a mistake of the test."""
    assert answer.status in (201, 409), answer.message
    return {found for text in answer.warnings for found in _WARNED.findall(text)}


def _refusals(name: str, thing: dict[str, Any]) -> list[str]:
    """What CrossGuard's function of a rule says of an object."""
    api, kind = thing["apiVersion"], thing["kind"]
    group = api if "/" in api else f"core/{api}"
    given = Given(f"kubernetes:{group}:{kind}", thing["metadata"]["name"], thing)
    if not matches(RULES[name].types, given.type):
        return []
    result = run(POLICY[name], [given])
    assert not result.unknown
    return [message for _, message in result.violations]


def _all_refusals(thing: dict[str, Any]) -> set[str]:
    return {name for name in BOTH if _refusals(name, thing)}


def test_every_kubernetes_rule_has_a_form_for_the_api_server_or_a_reason() -> None:
    undecided = [each.rule.name for each in rule_forms() if not (each.rule.cel or each.reason)]
    assert undecided == []
    assert WAYS.keys() == set(BOTH)


@pytest.mark.parametrize("name", BOTH)
def test_enough_objects_keep_and_break_a_rule(name: str) -> None:
    ways = WAYS[name]
    for changes, broken in ((ways.good, False), (ways.bad, True)):
        things = ways.objects(changes)
        assert len({json.dumps(each, sort_keys=True) for each in things}) == len(things) >= LEAST
        assert {bool(_refusals(name, each)) for each in things} == {broken}


@needs_apiserver
@pytest.mark.parametrize("name", BOTH)
def test_both_give_one_verdict_by_every_rule(name: str, server: ApiServer) -> None:
    ways = WAYS[name]
    for thing in (*ways.objects(ways.good), *ways.objects(ways.bad)):
        assert _warned(server.create(thing, dry=True)) == _all_refusals(thing), thing


@needs_apiserver
@pytest.mark.parametrize("name", BOTH)
def test_what_is_refused_is_refused_in_the_rules_own_words(name: str, strict: ApiServer) -> None:
    ways = WAYS[name]
    for thing in ways.objects(ways.bad):
        answer = strict.create(thing, dry=True)
        broken = [each for each in _all_refusals(thing) if RULES[each].level == "mandatory"]
        assert (answer.status == 422) == bool(broken), answer
        assert not broken or answer.message in [_denial(thing, each) for each in broken]


def _denial(thing: dict[str, Any], name: str) -> str:
    """What the API server says where a rule is broken."""
    server_says = f"ValidatingAdmissionPolicy '{name}' with binding '{name}'"
    group = thing["apiVersion"].rpartition("/")[0]
    plural = f"{thing['kind'].lower()}s".replace("sss", "sses")
    resource = f"{plural}.{group}" if group else plural
    words = "; ".join(_refusals(name, thing))
    named = thing["metadata"]["name"]
    return f'{resource} "{named}" is forbidden: {server_says} denied request: {words}'


BAD = WAYS["pod-not-privileged"].objects(WAYS["pod-not-privileged"].bad)[0]


@needs_apiserver
def test_other_namespaces_and_what_controllers_make_is_not_judged(strict: ApiServer) -> None:
    elsewhere = {**BAD, "metadata": {**BAD["metadata"], "namespace": "elsewhere"}}
    assert strict.create(BAD, dry=True).status == 422
    assert strict.create(elsewhere, dry=True).status == 201
    for namespace, status in (("kube-system", 201), ("vigil-operators", 201), ("vigil", 422)):
        groups = ["system:masters", f"system:serviceaccounts:{namespace}"]
        assert strict.create(BAD, dry=True, groups=groups).status == status


@needs_apiserver
def test_a_change_is_judged_and_one_that_lets_go_of_what_is_deleted_is_not(
    strict: ApiServer,
) -> None:
    budget = copy.deepcopy(BASES["PodDisruptionBudget"])
    bad = copy.deepcopy(budget)
    bad["spec"]["minAvailable"] = "50%"
    assert strict.create(budget).status == 201
    assert _told("ray-budget-counts-pods", strict.replace(bad))
    bad["metadata"] |= {"name": "held", "finalizers": ["example.org/held"]}
    operator = ["system:masters", "system:serviceaccounts:vigil-operators"]
    assert strict.create(bad, groups=operator).status == 201
    assert strict.delete(bad).status == 200
    bad["metadata"]["finalizers"] = []
    assert strict.replace(bad).status == 200


@needs_apiserver
def test_a_large_object_is_judged_within_the_limits_of_cost(strict: ApiServer) -> None:
    """50 worker groups of 4 containers with 60 variables each: 0.7 MB, half of etcd's limit."""
    cluster = copy.deepcopy(BASES["RayCluster"])
    group = copy.deepcopy(cluster["spec"]["workerGroupSpecs"][0])
    boxes = group["template"]["spec"]["containers"]
    boxes[0]["env"].extend(env(*((f"VARIABLE_{n}", f"value {n}") for n in range(55))))
    boxes.extend({**boxes[0], "name": f"side-{number}"} for number in range(3))
    groups = [{**group, "groupName": f"group-{number}"} for number in range(50)]
    cluster["spec"]["workerGroupSpecs"] = groups
    answer = strict.create(cluster, dry=True)
    assert (answer.status, answer.warnings) == (201, []), answer.message
    groups[-1] = copy.deepcopy(groups[-1])
    groups[-1]["template"]["spec"]["containers"][3]["image"] = "quay.io/x:latest"
    assert _told("image-pinned", strict.create(cluster, dry=True))


@needs_apiserver
@pytest.mark.parametrize("stack", STACKS)
def test_what_a_stack_renders_is_admitted_as_crossguard_admits_it(
    stack: str, strict: ApiServer
) -> None:
    known = [each for each in objects_of(settings_of(stack)) if _is_judged(each, strict)]
    assert len(known) > 20
    for thing in known:
        broken = [each for each in _all_refusals(thing) if RULES[each].level == "mandatory"]
        answer = strict.create(thing, dry=True)
        assert (answer.status in (201, 409)) == (not broken), answer.message
        assert not broken or stack == "local"


def _is_judged(thing: dict[str, Any], server: ApiServer) -> bool:
    namespace = thing["metadata"].get("namespace")
    return namespace in NAMESPACES and server.knows(thing["apiVersion"], thing["kind"])
