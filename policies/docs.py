"""docs/policies.md, made from the rules."""

from __future__ import annotations

import json
from pathlib import Path

from policies.rule import Rule
from policies.rules import RULES

ENVIRONMENTS = ("prod", "dev", "local")
HEAD = """\
# Policies

<!-- Made by `python -m policies docs > docs/policies.md`; edit the rules instead. -->

{count} rules stop what should never reach an account: the usual mistakes on AWS and Kubernetes, and those that only a platform of
Ray and MLflow makes. They run on every preview:

```sh
pulumi preview --policy-pack policies --policy-pack-config policies/environments/prod.json
```

`mandatory` stops the preview, `advisory` warns. Without a configuration file the levels of the column *default* hold, which are
those of a stack that people depend on. A value that is unknown at preview is neither a pass nor a violation: the policy says that
it could not run, and how many of its judgements were skipped. On the first preview of a stack that makes its own cluster that is
every object of Kubernetes in those policies that see the whole stack: the engine hands them over without properties. Rendered
manifests can be judged before. Without Pulumi, over an exported state, a preview or rendered manifests, with a budget for what
could not be judged:

```sh
pulumi stack export > state.json
python -m policies report state.json --env prod --skip-budget 0.05 --form sarif --output policies.sarif
python -m policies report rendered/prod --env prod
```

A standard is named where its control was looked up: AWS FSBP is the AWS Foundational Security Best Practices standard, AWS
Security Hub a control of Security Hub that is not part of it, CIS EKS the CIS Amazon EKS Benchmark. Other rules are our own.
"""


def page() -> str:
    """The page, rules by topic."""
    files = Path(__file__).parent / "environments"
    relaxed = {name: json.loads((files / f"{name}.json").read_text()) for name in ENVIRONMENTS}
    topics: dict[str, list[tuple[Rule, str]]] = {}
    for rule, level in RULES.values():
        topics.setdefault(rule.check.__module__.rsplit(".", 1)[-1], []).append((rule, level))
    parts = [HEAD.format(count=len(RULES))]
    for topic in sorted(topics):
        parts.append(f"\n## {topic.replace('_', ' ')}\n")
        parts += [_entry(rule, level, relaxed) for rule, level in topics[topic]]
    return "".join(parts)


def _entry(rule: Rule, level: str, relaxed: dict[str, dict[str, object]]) -> str:
    levels = ", ".join(
        f"{name} {_level(relaxed[name].get(rule.name), level)}" for name in ENVIRONMENTS
    )
    lines = [
        f"\n### {rule.name}\n\n{rule.description} {rule.fix}\n",
        f"- severity {rule.severity}; default {level}; {levels}",
        f"- standard: {', '.join(rule.standard) or 'own'}",
        f"- judges {', '.join(f'`{each}`' for each in rule.types)}"
        + (", seen together with the whole stack" if rule.stack else ""),
    ]
    lines += [
        f"- parameter `{name}`: {each['description']}; default `{each['default']}`"
        for name, each in rule.params.items()
    ]
    return "\n".join(lines) + "\n"


def _level(given: object, level: str) -> str:
    """The level in an environment, and the parameters that it changes."""
    if given is None or isinstance(given, str):
        return given or level
    assert isinstance(given, dict)
    params = ", ".join(
        f"{name} {value}" for name, value in given.items() if name != "enforcementLevel"
    )
    return (
        f"{given.get('enforcementLevel', level)} ({params})"
        if params
        else str(given["enforcementLevel"])
    )
