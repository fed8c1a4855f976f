"""Levels and parameters of rules in an environment, from the files that Pulumi reads too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from policies.rule import Judgement, Level, Rule
from policies.rules import RULES
from policies.subjects import Resource, Stack

LEVELS: tuple[Level, ...] = get_args(Level)
_FOLDER = Path(__file__).parent / "environments"


def environments() -> list[str]:
    """Return the names of the environments that have a file."""
    return sorted(file.stem for file in _FOLDER.iterdir())


@dataclass(frozen=True)
class ConfiguredRule:
    """A rule at its level in an environment, and the parameters that the environment sets."""

    rule: Rule
    params: Mapping[str, Any]

    def judge(self, resource: Resource, stack: Stack) -> Judgement:
        """Judge one resource of a type that applies."""
        return self.rule.judge(resource, self.params, stack)


@dataclass(frozen=True)
class RuleSetting:
    """What a configuration says of one rule; no level: that of its declaration."""

    level: Level | None = None
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def parse(cls, value: str | Mapping[str, Any]) -> RuleSetting:
        """Read an entry: a level, or a level and parameters."""
        entry = dict(value) if isinstance(value, Mapping) else {"enforcementLevel": value}
        level = entry.pop("enforcementLevel", None)
        if level not in (None, *LEVELS):
            raise ValueError(f"{level!r} is no level: {', '.join(LEVELS)} are")
        return cls(level, entry)

    def require_params(self, rule: Rule) -> None:
        """Raise ValueError where a parameter is none of the rule's."""
        unknown = self.params.keys() - rule.params.keys()
        if unknown:
            names = ", ".join(sorted(unknown))
            raise ValueError(f"{rule.name} has no parameter {names}")


@dataclass(frozen=True)
class PolicyConfig:
    """A configuration of the form that `pulumi --policy-pack-config` reads."""

    settings: Mapping[str, RuleSetting]

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> PolicyConfig:
        """Check that every entry names a rule, a level and parameters. Raises ValueError."""
        if not isinstance(content, Mapping):
            raise ValueError("a configuration is an object of rules and levels")
        if unknown := content.keys() - RULES.keys() - {"all"}:
            names = ", ".join(sorted(unknown))
            raise ValueError(f"no rule is named {names}: `python -m policies docs` lists them")
        settings = {name: RuleSetting.parse(value) for name, value in content.items()}
        for name in settings.keys() & RULES.keys():
            settings[name].require_params(RULES[name])
        return cls(settings)

    @classmethod
    def read(cls, file: Path) -> PolicyConfig:
        """Read a file. Raises ValueError."""
        if not file.is_file():
            known = ", ".join(environments())
            raise ValueError(f"there is no {file.name}: known environments are {known}")
        try:
            content = json.loads(file.read_bytes())
        except ValueError as error:
            raise ValueError(f"{file} is not JSON: {error}") from error
        return cls.parse(content)

    @classmethod
    def of_environment(cls, name: str) -> PolicyConfig:
        """Read the file of an environment. Raises ValueError."""
        return cls.read(_FOLDER / f"{name}.json")

    def setting(self, name: str) -> RuleSetting:
        """Return what it says of a rule, or of `all` rules; nothing where it does not name it."""
        return self.settings.get(name, RuleSetting())

    def rules(self) -> list[ConfiguredRule]:
        """Return all rules as they are configured, those that are disabled included."""
        return [self._configure(rule) for rule in RULES.values()]

    def _configure(self, rule: Rule) -> ConfiguredRule:
        setting = self.setting(rule.name)
        of_all = self.setting("all")
        level = setting.level or of_all.level or rule.level
        return ConfiguredRule(replace(rule, level=level), setting.params)
