"""docs/policies.md, made from the rules."""

from __future__ import annotations

from policies.admission import rule_forms
from policies.levels import PolicyConfig, RuleSetting
from policies.rule import Rule
from policies.rules import RULES, TOPICS

_ENVIRONMENTS = ("prod", "dev", "local")
_PAGE_HEAD = """\
# Policies

<!-- Made by `python -m policies docs > docs/policies.md`; edit the rules instead. -->

{count} rules stop what should never reach an account: the usual mistakes on AWS and Kubernetes, and
those that only a platform of Ray and MLflow makes. They run on every preview:

```sh
pulumi preview --policy-pack policies --policy-pack-config policies/environments/prod.json
```

`mandatory` stops the preview, `advisory` warns. Without a configuration file the levels of the
column *default* hold, which are those of a stack that people depend on. A value that is unknown at
preview is neither a pass nor a violation: the policy says that it could not run, and how many of
its judgements were skipped. On the first preview of a stack that makes its own cluster that is
every object of Kubernetes in those policies that see the whole stack: the engine hands them over
without properties. Rendered manifests can be judged before. Without Pulumi, over an exported state,
a preview or rendered manifests, with a budget for what could not be judged:

```sh
pulumi stack export > state.json
python -m policies report state.json --env prod --skip-budget 0.05 --form sarif \\
    --output policies.sarif
python -m policies report rendered/prod --env prod
```

A folder may hold YAML and JSON, in folders of its own, with lists of kubectl's and many documents a
file. The report names each file: *judged*, with the number of its objects; *skipped*, and why
(values of a chart, what is no object of Kubernetes); or *broken*, and why (no YAML, a template that
is not rendered, a key that stands twice, half an object). It exits with 1 on a mandatory violation,
on anything broken and where more than the budget was skipped, with 2 where nothing was judged: an
empty folder passes no gate.

Of {judged} rules of Kubernetes objects {both} have a second form in CEL, which the API server
itself judges by, whoever asks: `pulumi config set vigil:admission warn` (or `deny`, or `audit`;
`off` by default) makes each a ValidatingAdmissionPolicy and a binding to the namespaces `vigil` and
`vigil-tracking`. With `deny` it refuses what breaks a mandatory rule and warns of an advisory one,
in the words of CrossGuard; levels and parameters are those of the environment's file. Begin with
`warn`. It sees what is created and what is changed, with the defaults that it fills in (a pod on
the network of its node takes ports of the node, for one). What controllers and KubeRay's operator
make of an object that was judged is let through, as they add containers of their own; so is what is
being deleted. `python -m policies forms` lists both kinds with the reasons, and without Pulumi:

```sh
python -m policies admission --env prod --action deny | kubectl apply --server-side -f -
```

A standard is named where its control was looked up: AWS FSBP is the AWS Foundational Security Best
Practices standard, AWS Security Hub a control of Security Hub that is not part of it, CIS EKS the
CIS Amazon EKS Benchmark. Other rules are our own.
"""


def render_policies_page() -> str:
    """Return the page, rules by topic."""
    configs = {name: PolicyConfig.of_environment(name) for name in _ENVIRONMENTS}
    forms = rule_forms()
    both = sum(each.has_both for each in forms)
    parts = [_PAGE_HEAD.format(count=len(RULES), judged=len(forms), both=both)]
    for topic in sorted(TOPICS):
        parts.append(f"\n## {topic.replace('_', ' ')}\n")
        parts.extend(_entry(rule, configs) for rule in TOPICS[topic])
    return "".join(parts)


def _entry(rule: Rule, configs: dict[str, PolicyConfig]) -> str:
    lines = [
        f"\n### {rule.name}\n\n{rule.description} {rule.fix}\n",
        f"- severity {rule.severity}; default {rule.level}; {_levels(rule, configs)}",
        f"- standard: {', '.join(rule.standards) or 'own'}",
        f"- judges {_judged_types(rule)}",
        *_admission(rule),
        *_params(rule),
    ]
    return "\n".join(lines) + "\n"


def _levels(rule: Rule, configs: dict[str, PolicyConfig]) -> str:
    """The level of a rule in each environment."""
    settings = {name: config.setting(rule.name) for name, config in configs.items()}
    return ", ".join(f"{name} {_level(rule, each)}" for name, each in settings.items())


def _judged_types(rule: Rule) -> str:
    types = ", ".join(f"`{type_}`" for type_ in rule.types)
    return f"{types}, seen together with the whole stack" if rule.stack else types


def _admission(rule: Rule) -> list[str]:
    """Whether the API server judges by it too, of a rule of Kubernetes objects."""
    return [f"- API server: {each.describe()}" for each in rule_forms() if each.rule is rule]


def _params(rule: Rule) -> list[str]:
    return [
        f"- parameter `{name}`: {schema['description']}; default `{schema['default']}`"
        for name, schema in rule.params.items()
    ]


def _level(rule: Rule, setting: RuleSetting) -> str:
    """Return the level in an environment, and the parameters that it changes."""
    level = setting.level or rule.level
    params = ", ".join(f"{name} {value}" for name, value in setting.params.items())
    return f"{level} ({params})" if params else level
