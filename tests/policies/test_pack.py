"""The pack as a whole.

Nothing is forgotten, every rule is complete, and no file hides a library.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pulumi_policy.proxy import UnknownValueError, unknown_checking_proxy

from policies import rules as listed
from policies.rule import Rule, rule
from policies.rules import RULES, TOPICS
from policies.subjects import NoPropertiesYet, Resource, Stack
from tests.policies.harness import UNKNOWN

PACK = Path(listed.__file__).parent
STANDARDS = (
    r"AWS FSBP [A-Za-z0-9]+\.\d+",
    r"AWS Security Hub [A-Za-z0-9]+\.\d+",
    r"CIS EKS 1\.7\.0 \d\.\d\.\d",
)
STANDARDS += (r"Kubernetes Pod Security Standards (baseline|restricted)/[a-z-]+",)


def test_every_rule_of_every_file_is_listed_once() -> None:
    modules = [
        importlib.import_module(f"policies.{file.stem}")
        for file in PACK.glob("*.py")
        if not file.stem.startswith("__")
    ]
    written = {
        each.name for module in modules for each in vars(module).values() if isinstance(each, Rule)
    }
    names = [each.name for rules in TOPICS.values() for each in rules]
    assert sorted(names) == sorted(written)
    assert len(RULES) == len(names) >= 45


@pytest.mark.parametrize("found", RULES.values(), ids=lambda each: each.name)
def test_a_rule_is_complete(found: Rule) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", found.name)
    assert re.fullmatch(r"[A-Z][^\n]*[a-zA-Z)]\.", found.description), found.description
    assert found.message[0] != " "
    assert not found.message.endswith(".")
    assert found.fix.endswith((".", '".'))
    assert all(re.fullmatch("|".join(STANDARDS), each) for each in found.standards), found.standards
    for name, schema in found.params.items():
        assert schema["description"], name
        Draft202012Validator(schema).validate(schema["default"])


@pytest.mark.parametrize(
    "file", sorted((PACK / "environments").glob("*.json")), ids=lambda file: file.stem
)
def test_an_environment_names_rules_and_parameters_that_exist(file: Path) -> None:
    for name, given in json.loads(file.read_text()).items():
        settings = {"enforcementLevel": given} if isinstance(given, str) else given
        level = settings.pop("enforcementLevel")
        assert level in ("mandatory", "advisory", "disabled")
        for key, value in settings.items():
            Draft202012Validator(RULES[name].params[key]).validate(value)
        assert settings or level != RULES[name].level, f"{name} changes nothing"


def test_no_file_bears_the_name_of_a_library() -> None:
    """Pulumi runs the folder: its files are then found before any library of the same name."""
    libraries = sys.stdlib_module_names | importlib.metadata.packages_distributions().keys()
    assert {file.stem for file in PACK.glob("*.py")} & libraries <= {"__main__"}


def one(name: str, **props: object) -> Resource:
    """A resource whose unknown values are guarded."""
    return Resource("t:m:Thing", name, f"urn:{name}", unknown_checking_proxy(props))


def test_a_reference_is_known_by_link_or_by_value_and_otherwise_unknown() -> None:
    bucket = one("models", bucket="vigil-models", id=UNKNOWN)
    assert one("policy", bucket="vigil-models").refers("bucket", bucket)
    assert not one("policy", bucket="other").refers("bucket", bucket)
    linked = Resource(
        "t:m:Thing",
        "policy",
        "urn:p",
        unknown_checking_proxy({"bucket": UNKNOWN}),
        links={"bucket": ["urn:models"]},
    )
    assert linked.refers("bucket", bucket)
    assert not linked.refers("bucket", one("other"))
    with pytest.raises(UnknownValueError):
        one("policy", bucket=UNKNOWN).refers("bucket", bucket)


def test_no_properties_at_all_are_unknown_however_they_are_asked() -> None:
    props = one("it").props
    questions: list[Callable[[], object]] = [
        lambda: props.get("a"),
        lambda: props["a"],
        lambda: "a" in props,
        lambda: list(props),
        lambda: bool(props),
        lambda: props == {},
        lambda: {**props},
    ]
    for ask in questions:
        with pytest.raises(NoPropertiesYet):
            ask()
    assert one("it", a=1).props.get("b") is None
    assert one("it").identities == {"it"}


def test_an_unknown_subject_leaves_the_others_judged() -> None:
    @rule(
        "t:*",
        message="{} is wrong",
        fix="Do.",
        severity="low",
        each=lambda it: enumerate(it.props["items"]),  # type: ignore
    )
    def some_rule(item: dict[str, str], _: object) -> str | None:
        """Nothing is wrong."""
        return item["value"] if item["value"] != "right" else None

    items = [{"value": "bad"}, {"value": UNKNOWN}, {"value": "right"}, {"value": "worse"}]
    judgement = some_rule.judge(one("it", items=items), {}, Stack(()))
    assert judgement.violations == ("bad is wrong", "3: worse is wrong")
    assert judgement.unknown is not None
    assert judgement.unknown.props == ["items", "1", "value"]
