"""What a monitor remembers: it survives as JSON; what an older Vigil stored is shown as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.events import Transition
from drift.governor import Governor
from drift.memory import MAX_TRANSITIONS, LastRetraining, MonitorMemory
from drift.view.timeline import timeline

OLD: dict[str, Any] = {
    "governor": {"phase": "cooling", "recent": [], "retrains": [5.0], "format": 1},
    "cause": "3 of 6 features have drifted (episode 17-3)",
    "last_retraining": {
        "outcome": "promoted",
        "reason": "better",
        "version": "2",
        "cause": "drift",
        "at": 9.0,
    },
    "followed": "2",
    "timeline": [
        {"at": 7.0, "phase": "retraining", "episode": "17-3", "reason": "retraining"},
        {"at": 9.0, "phase": "cooling", "episode": None, "reason": "promoted: better; quiet"},
    ],
}


def restarted(memory: MonitorMemory) -> MonitorMemory:
    return MonitorMemory.from_json(json.loads(json.dumps(memory.to_json())))


def test_it_survives_a_restart() -> None:
    memory = MonitorMemory(
        governor=Governor(phase="retraining", episode="17-volume", trigger="volume"),
        cause="volume",
        last_retraining=LastRetraining("kept", "no better", "2", "drift", 9.0),
        followed="1",
    )
    for at in range(MAX_TRANSITIONS + 5):
        memory.transitions.append(
            Transition(
                at=float(at),
                phase="cooling",
                episode=None,
                reason="kept: no better",
                former="retraining",
                outcome="kept",
                summary="no better",
                detail=("a is over",),
            )
        )
    assert restarted(memory) == memory
    assert restarted(MonitorMemory()) == MonitorMemory()


def test_the_memory_of_an_older_vigil_is_read_and_its_reasons_are_shown() -> None:
    memory = MonitorMemory.from_json(OLD)
    assert memory.last_retraining is not None
    assert memory.last_retraining.version == "2"
    assert [transition.status() for transition in memory.transitions] == OLD["timeline"]
    told = timeline(memory.transitions, [], [], memory.cause)
    assert [(entry.kind, entry.text) for entry in told] == [
        ("gate", "Promoted: better; quiet"),
        ("retrain", "Retraining"),
    ]
    assert told[1].detail == [OLD["cause"]]


def test_an_older_vigil_finds_what_it_reads() -> None:
    stored = MonitorMemory.from_json(OLD).to_json()
    assert stored.keys() == OLD.keys() | {"submitted"}  # which it does not look for
    for transition in stored["timeline"]:
        assert transition.keys() >= {"at", "phase", "episode", "reason"}


def test_a_transition_that_cannot_be_read_costs_no_other() -> None:
    memory = MonitorMemory.from_json({**OLD, "timeline": [1, {}, *OLD["timeline"]]})
    assert len(memory.transitions) == 2


VALUES = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


@settings(max_examples=200, deadline=None)
@given(key=st.sampled_from(sorted(OLD)), value=VALUES)
def test_memory_with_another_value_is_read_or_refused(key: str, value: Any) -> None:
    try:
        memory = MonitorMemory.from_json({**OLD, key: value})
    except (ValueError, TypeError, LookupError, AttributeError):
        return
    assert restarted(memory) == memory


@pytest.mark.parametrize("key", ["governor", "cause", "last_retraining", "followed"])
def test_memory_without_a_part_is_none(key: str) -> None:
    with pytest.raises(LookupError, match=key):
        MonitorMemory.from_json({name: part for name, part in OLD.items() if name != key})
