"""What a diagnosis says: its causes, the worst first, in few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from infra.diagnosis.objects import KubeObject
from vigil.naming import name_first

Grade = Literal["failure", "risk", "note"]
Subject = KubeObject | str
_GRADES: tuple[Grade, ...] = ("failure", "risk", "note")
_MAX_NAMED_OBJECTS = 3
_MAX_QUOTED_CHARACTERS = 300  # of somebody else's sentence


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is wrong: which object, the cause in its own words, what helps.

    `failure`: something does not work; `risk`: it works, and will not for long or when it counts;
    `note`: nothing is wrong, and something is left to be done.
    """

    what: str
    why: str
    fix: str
    grade: Grade = "failure"

    def __str__(self) -> str:
        return f"{self.what}: {self.why}. {_as_sentence(self.fix)}"

    def to_json(self) -> dict[str, str]:
        """Return it as `vigil doctor cluster --json` prints it."""
        return {
            "grade": self.grade,
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
        }


Diagnoses = Iterator[Diagnosis]


def _as_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def failure(
    what: Subject,
    why: str,
    fix: str,
) -> Diagnosis:
    """Say that something does not work."""
    return Diagnosis(
        str(what),
        why,
        fix,
        grade="failure",
    )


def risk(
    what: Subject,
    why: str,
    fix: str,
) -> Diagnosis:
    """Say that something works, and will not for long or when it counts."""
    return Diagnosis(
        str(what),
        why,
        fix,
        grade="risk",
    )


def note(
    what: Subject,
    why: str,
    fix: str,
) -> Diagnosis:
    """Say that nothing is wrong, and something is left to be done."""
    return Diagnosis(
        str(what),
        why,
        fix,
        grade="note",
    )


def only_failures(diagnoses: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Return those of what does not work."""
    return [each for each in diagnoses if each.grade == "failure"]


def worst_first(diagnoses: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Merge and sort by grade; within a grade causes stay before what follows from them."""
    merged = merge_diagnoses(diagnoses)
    return sorted(merged, key=lambda each: _GRADES.index(each.grade))


def merge_diagnoses(diagnoses: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Make one of those that differ in their object alone; it names the objects."""
    alike: dict[Diagnosis, list[str]] = {}
    for each in diagnoses:
        nameless = replace(each, what="")
        names = alike.setdefault(nameless, [])
        if each.what not in names:
            names.append(each.what)
    return [
        replace(each, what=name_first(names, _MAX_NAMED_OBJECTS)) for each, names in alike.items()
    ]


def quote(text: str | None, max_characters: int = _MAX_QUOTED_CHARACTERS) -> str:
    """Return somebody else's sentence on one line, shortened, without its full stop."""
    words = (text or "").split()
    line = " ".join(words).rstrip(".")
    if len(line) <= max_characters:
        return line
    return f"{line[: max_characters - 3]}..."


def format_duration(seconds: float) -> str:
    """Return a time that has passed, as one says it."""
    if seconds >= 3 * 3600:
        return f"{seconds / 3600:.0f} h"
    if seconds >= 3 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s"


def format_labels(labels: Mapping[str, str]) -> str:
    """Return labels as a selector of kubectl."""
    terms = [f"{key}={value}" for key, value in labels.items()]
    return ",".join(terms)


def last_lines(log: str, lines: int = 3) -> str:
    """Return the last lines of a log that say something."""
    spoken = _spoken_lines(log)
    return quote(" | ".join(spoken[-lines:]))


def _spoken_lines(log: str) -> list[str]:
    stripped = map(str.strip, log.splitlines())
    return list(filter(None, stripped))


def last_words(log: str) -> str:
    """Return the end of a log as the end of a sentence; nothing of an empty log."""
    words = last_lines(log)
    return f", its last words: {words}" if words else ""
