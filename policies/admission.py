"""The Kubernetes rules as ValidatingAdmissionPolicy objects: the API server refuses what they do.

What controllers make of an object that was judged is not judged again, nor what is being deleted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.cel import SCOPES, Cel, as_cel, variables_for
from policies.levels import PolicyConfig, environments
from policies.pods import each_container, each_container_spec, each_pod
from policies.ray_cluster import each_cluster, each_group, each_head, each_worker_group
from policies.rule import Each, Rule
from policies.rules import RULES
from policies.subjects import whole_resource
from policies.tracking import each_mlflow_server
from policies.workload import each_pod_with_own_account
from vigil.json_types import JsonObject

AdmissionAction = Literal["warn", "deny", "audit"]

_API = "admissionregistration.k8s.io/v1"
_NO_OBJECTS_GROUP = "helm.sh"  # Pulumi's own, of which no cluster knows
_ARGOCD_GROUP = "argoproj.io"
_WHOLE_STACK = "it looks at other objects of the stack, and the API server shows a policy one"
_NO_OBJECT = "it judges what Pulumi alone knows, and no object of the API server"
_NAMES_ITSELF = "kubernetes.io/metadata.name"
_LABELS = {"app.kubernetes.io/part-of": "vigil"}
_SCOPE_OF: dict[Each, str] = {
    whole_resource: "object",
    each_cluster: "cluster",
    each_group: "groups",
    each_head: "heads",
    each_worker_group: "workers",
    each_pod: "pods",
    each_pod_with_own_account: "pods with an account of their own",
    each_container: "containers",
    each_container_spec: "containers",
    each_mlflow_server: "MLflow servers",
}
_ACTIONS = {"warn": "Warn", "deny": "Deny", "audit": "Audit"}
_PLACED = '(it.place == "" ? "" : it.place + ": ") + {}'
# A change of what is being deleted takes its finalizers away.
_STAYS = {
    "name": "is-not-being-deleted",
    "expression": "!has(object.metadata.deletionTimestamp)",
}


@dataclass(frozen=True)
class AdmissionScope:
    """Where the API server judges: namespaces by name, and whose objects it lets through.

    `controllers`: service accounts of these namespaces make objects of one that was judged, and add
    containers of their own. `applications`: where Argo CD keeps its own objects; none: no rule
    about them.
    """

    namespaces: Sequence[str]
    controllers: Sequence[str] = ("kube-system",)
    applications: Sequence[str] = ()

    def namespaces_of(self, rule: Rule) -> Sequence[str]:
        """Return where a rule judges."""
        groups = {_group_and_kind(type_)[0] for type_ in rule.types}
        return self.applications if groups == {_ARGOCD_GROUP} else self.namespaces


@dataclass(frozen=True)
class RuleForms:
    """Whether a rule of Kubernetes objects is one for the API server too, and why it is none."""

    rule: Rule
    reason: str

    @property
    def has_both(self) -> bool:
        return self.rule.cel is not None and not self.reason

    def describe(self) -> str:
        """Return that the API server judges by it too, or why it cannot."""
        return "yes, in CEL" if self.has_both else f"no: {self.reason}"


def rule_forms() -> list[RuleForms]:
    """Return the forms of every rule of Kubernetes objects; no reason and no CEL is a mistake."""
    judged = [rule for rule in RULES.values() if any(map(_is_kubernetes, rule.types))]
    return [RuleForms(rule, reason_without_cel(rule)) for rule in judged]


def reason_without_cel(rule: Rule) -> str:
    """Return why the API server cannot judge by a rule; empty where it can."""
    if rule.stack:
        return _WHOLE_STACK
    if not any(map(_is_object, rule.types)):
        return _NO_OBJECT
    return rule.without_cel


def _is_kubernetes(type_: str) -> bool:
    return type_.startswith("kubernetes:")


def _is_object(type_: str) -> bool:
    return _is_kubernetes(type_) and _group_and_kind(type_)[0] != _NO_OBJECTS_GROUP


def _group_and_kind(type_: str) -> tuple[str, str]:
    """Return `kubernetes:apps/*:Deployment` as (apps, Deployment); the group of core is empty."""
    _, api, kind = type_.split(":")
    group = api.partition("/")[0]
    return ("" if group == "core" else group), kind


def admission_objects(
    environment: str, action: AdmissionAction, scope: AdmissionScope
) -> list[JsonObject]:
    """Return a policy and its binding for every rule that is enabled and has both forms.

    A mandatory rule does what `action` says; an advisory one warns, or is noted in the audit log.
    Levels and parameters are those of the environment; of one that has no file, the rules' own.
    """
    return list(_objects(environment, action, scope))


def _objects(
    environment: str, action: AdmissionAction, scope: AdmissionScope
) -> Iterator[JsonObject]:
    for each in _config_of(environment).rules():
        rule = each.rule
        if rule.cel and _is_applied(rule, scope):
            yield _policy(rule, rule.cel, {**rule.defaults, **each.params}, scope)
            yield _binding(rule, action, scope)


def _is_applied(rule: Rule, scope: AdmissionScope) -> bool:
    if rule.level == "disabled" or reason_without_cel(rule):
        return False
    return bool(scope.namespaces_of(rule))


def _config_of(environment: str) -> PolicyConfig:
    if environment in environments():
        return PolicyConfig.of_environment(environment)
    return PolicyConfig({})


def _object(
    kind: str,
    name: str,
    spec: JsonObject,
) -> JsonObject:
    metadata = {"name": name, "labels": _LABELS}
    return {
        "apiVersion": _API,
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


def _policy(
    rule: Rule,
    cel: Cel,
    params: JsonObject,
    scope: AdmissionScope,
) -> JsonObject:
    subjects = SCOPES[_SCOPE_OF[rule.each]]
    message = _message(rule, cel)
    expressions = " ".join((subjects, cel.condition, message))
    variables = variables_for(expressions, params)
    validation = {
        "expression": f"variables.subjects.all(l, l.all(it, !({cel.condition})))",
        "message": rule.fix if "{}" in rule.message else rule.message,
        "messageExpression": "variables.subjects.map(l,"
        f" l.filter(it, {cel.condition}).map(it, {message}).join('; '))"
        ".filter(text, text != '').join('; ')",
    }
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": _resource_rules(rule)},
        "matchConditions": [_STAYS, _not_by_controllers(scope)],
        "variables": [*variables, {"name": "subjects", "expression": subjects}],
        "validations": [validation],
    }
    return _object("ValidatingAdmissionPolicy", rule.name, spec)


def _message(rule: Rule, cel: Cel) -> str:
    """Return the text about a subject, in CEL: its place, and the rule's message."""
    before, mark, after = rule.message.partition("{}")
    if not mark:
        return _PLACED.format(as_cel(before))
    return _PLACED.format(f"{as_cel(before)} + ({cel.found}) + {as_cel(after)}")


def _resource_rules(rule: Rule) -> list[JsonObject]:
    """Return what is judged: kinds by their group, in any version, created or changed."""
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for type_ in filter(_is_object, rule.types):
        group, kind = _group_and_kind(type_)
        kinds[group].append(_plural(kind))
    return [_resource_rule(group, names) for group, names in kinds.items()]


def _resource_rule(group: str, resources: list[str]) -> JsonObject:
    return {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": resources,
    }


def _plural(kind: str) -> str:
    name = kind.lower()
    return f"{name}es" if name.endswith("s") else f"{name}s"


def _not_by_controllers(scope: AdmissionScope) -> JsonObject:
    groups = [f"system:serviceaccounts:{namespace}" for namespace in scope.controllers]
    expression = (
        'request.userInfo.username != "system:kube-controller-manager"'
        f" && !request.userInfo.groups.exists(g, g in {as_cel(groups)})"
    )
    return {"name": "is-not-made-by-a-controller", "expression": expression}


def _binding(
    rule: Rule,
    action: AdmissionAction,
    scope: AdmissionScope,
) -> JsonObject:
    namespaces = {
        "key": _NAMES_ITSELF,
        "operator": "In",
        "values": list(scope.namespaces_of(rule)),
    }
    milder: AdmissionAction = "warn" if action == "deny" else action
    taken = action if rule.level == "mandatory" else milder
    spec = {
        "policyName": rule.name,
        "validationActions": [_ACTIONS[taken]],
        "matchResources": {"namespaceSelector": {"matchExpressions": [namespaces]}},
    }
    return _object("ValidatingAdmissionPolicyBinding", rule.name, spec)
