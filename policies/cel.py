"""Rules in CEL, the language in which a ValidatingAdmissionPolicy judges an object.

An expression sees one subject as `it`: its `place`, its `props`, and what its scope adds. A
property that may be absent is read by `?`, as in `it.props.?spec.?type.orValue("")`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from vigil.json_types import Fields, JsonObject

_NUMBER = r"\d+\.\d+(?:\.\d+)?"


@dataclass(frozen=True)
class Cel:
    """The second form of a rule, over the subjects that its `each` yields.

    `wrong`: true where a subject breaks the rule; empty where `found` is no empty text. `found`:
    the text that takes the place of `{}` in the message.
    """

    wrong: str = ""
    found: str = ""

    @property
    def condition(self) -> str:
        """Whether a subject breaks the rule."""
        return self.wrong or f'({self.found}) != ""'


# Why a rule about what Secrets hold has no such form.
SECRETS_ARE_ENCODED = "what a Secret holds is base64, which the API server's CEL does not decode"


def as_cel(value: object) -> str:
    """Return a text, a number, or a collection of them as CEL writes it, which JSON does too."""
    return json.dumps(value)


def property_equals(path: str, value: bool | str) -> str:
    """Return the condition that the property at a dotted path of a subject has a value."""
    parts = "".join(f".?{part}" for part in path.split("."))
    return f"it.props{parts}.orValue(null) == {as_cel(value)}"


def version_of(text: str) -> str:
    """Return the number that orders the version in a text, 2.60 before 2.61.1.

    The text must match VERSION.
    """
    parts = f'[({text}.find({as_cel(_NUMBER)}) + ".0").split(".")]'
    total = "int(p[0]) * 1000000000000 + int(p[1]) * 1000000 + int(p[2])"
    return f"{parts}.map(p, {total})[0]"


def has_version(text: str) -> str:
    """Return the condition that there is a version in a text."""
    return f"{text}.matches({as_cel(_NUMBER)})"


def entries_of_variable(name: str, env: str = "it.env") -> str:
    """Return the entries of an environment that give a variable a value; name: an expression."""
    return f"{env}.filter(e, e.name == {name} && (has(e.value) || has(e.valueFrom)))"


def texts_of_variable(name: str) -> str:
    """Return the values of a variable as texts; a reference is `$(`, as one within a value is."""
    return f'{entries_of_variable(as_cel(name))}.map(e, e.?value.orValue("$("))'


# --- what expressions share ---


def _cluster() -> str:
    inner = "object.kind == {} ? object.?spec.?{}.orValue({{}}) : "
    service = inner.format('"RayService"', "rayClusterConfig")
    job = inner.format('"RayJob"', "rayClusterSpec")
    return f"{service}({job}object.?spec.orValue({{}}))"


def _record(**fields: str) -> str:
    """Return a map in CEL, whose values are of one type only where each is declared as any."""
    entries = ", ".join(f"{as_cel(name)}: dyn({value})" for name, value in fields.items())
    return f"{{{entries}}}"


def _group(
    place: str,
    head: str,
    group: str,
) -> str:
    containers = f"{group}.?template.?spec.?containers[?0]"
    return _record(
        place=place,
        head=head,
        props=group,
        pod=f"{group}.?template.?spec.orValue({{}})",
        ray=f"{containers}.orValue({{}})",
        env=f"{containers}.?env.orValue([])",
    )


def _groups() -> str:
    head = _group('"head"', "true", "variables.cluster.headGroupSpec")
    worker = _group('"worker group " + g.groupName', "false", "g")
    return (
        f"(has(variables.cluster.headGroupSpec) ? [{head}] : [])"
        f" + variables.cluster.?workerGroupSpecs.orValue([]).map(g, {worker})"
    )


def _templates() -> str:
    group = _record(place="g.place", props="g.props.?template.orValue({})")
    submitter = _record(place='"submitter"', props="object.spec.submitterPodTemplate")
    of_job = "object.?spec.?jobTemplate.?spec.?template.orValue({})"
    of_cron_job = f'object.kind == "CronJob" ? {of_job} : object.?spec.?template.orValue({{}})'
    only = _record(place='""', props=f'object.kind == "Pod" ? object : ({of_cron_job})')
    return (
        f'object.apiVersion.startsWith("ray.io/") ? variables.groups.map(g, {group})'
        f" + (object.?spec.?submitterPodTemplate.hasValue() ? [{submitter}] : []) : [{only}]"
    )


def _pods() -> str:
    pod = _record(place="t.place", props="t.props.?spec.orValue({})")
    return f"variables.templates.map(t, {pod})"


def _containers() -> str:
    container = _record(
        place='(p.place == "" ? "" : p.place + ", ") + "container " + c.name',
        props="c",
        pod="p.props",
        env="c.?env.orValue([])",
        image='c.?image.orValue("None")',
    )
    both = "p.props.?initContainers.orValue([]) + p.props.?containers.orValue([])"
    return f"variables.pods.map(p, ({both}).map(c, {container}))"


def _commands() -> str:
    """Containers with the words of their command, and the tag of their image."""
    words = (
        '(c.props.?command.orValue([]) + c.props.?args.orValue([])).join(" ")'
        r'.replace("\n", " ").replace("\t", " ").split(" ").filter(w, w != "")'
    )
    command = _record(
        place="c.place",
        env="c.env",
        image="c.image",
        tag='c.image.split("@")[0].find("[^/]*$").split(":", 2)[?1].orValue("")',
        words=words,
    )
    return f"variables.containers.map(l, l.map(c, {command}))"


def _mlflow_servers() -> str:
    server = _record(
        place="c.place",
        env="c.env",
        tag="c.tag",
        words="c.words",
        line='" " + c.words.join(" ") + " "',
        labels="variables.templates[0].props.?metadata.?labels.orValue({})",
    )
    is_mlflow = '"mlflow" in c.words || c.image.matches("mlflow[^/@]*(@.*)?$")'
    serves = '"server" in c.words || c.words.size() == 0'
    chosen = f"l.filter(c, ({is_mlflow}) && ({serves}))"
    return f"variables.commands.map(l, {chosen}.map(c, {server}))"


_SOURCES = (
    "(object.?spec.?source.hasValue() ? [object.spec.source] : [])"
    " + object.?spec.?sources.orValue([])"
)
# A variable may use those before it.
_SHARED = {
    "cluster": _cluster(),
    "groups": _groups(),
    "templates": _templates(),
    "pods": _pods(),
    "containers": _containers(),
    "commands": _commands(),
    "mlflowServers": _mlflow_servers(),
    "sources": _SOURCES,
}
_OBJECT = _record(place='""', props="object")
_WHOLE_CLUSTER = _record(place='""', props="variables.cluster")
_OWN_ACCOUNT = (
    'p.place != "head" || variables.cluster.?enableInTreeAutoscaling.orValue(false) != true'
)
# Subjects by scope: a list of lists, as containers are of pods.
SCOPES = {
    "object": f"[[{_OBJECT}]]",
    "cluster": f"[[{_WHOLE_CLUSTER}]]",
    "groups": "[variables.groups]",
    "heads": "[variables.groups.filter(g, g.head)]",
    "workers": "[variables.groups.filter(g, !g.head)]",
    "pods": "[variables.pods]",
    "pods with an account of their own": f"[variables.pods.filter(p, {_OWN_ACCOUNT})]",
    "containers": "variables.containers",
    "MLflow servers": "variables.mlflowServers",
}


def variables_for(expressions: str, params: Fields) -> list[JsonObject]:
    """Return the shared variables that expressions use, with those that these use in turn."""
    declared = {name: as_cel(value) for name, value in params.items()}
    known = {"params": _record(**declared), **_SHARED}
    wanted = {"": expressions}
    for name in reversed(known):
        if any(f"variables.{name}" in text for text in wanted.values()):
            wanted[name] = known[name]
    return [{"name": name, "expression": known[name]} for name in known if name in wanted]
