"""What the policy pack costs a preview."""

from __future__ import annotations

import time
from typing import Any


def policies(size: int = 500) -> list[dict[str, Any]]:
    """The whole pack over `size` resources.

    The rules alone, and the real process over gRPC as the engine asks it.
    """
    from dataclasses import replace

    from policies.levels import PolicyConfig
    from policies.recorded import resources_of_states
    from policies.report import judge_all
    from tests.policies.engine import running_pack
    from tests.policies.good import GOOD

    given = [
        replace(GOOD[n % len(GOOD)], name=f"{GOOD[n % len(GOOD)].name}-{n // len(GOOD)}")
        for n in range(size)
    ]
    states = [{"urn": each.urn, "type": each.type, "inputs": each.props} for each in given]
    began = time.perf_counter()
    report = judge_all(resources_of_states(states), PolicyConfig({}).rules())
    alone = time.perf_counter() - began
    with running_pack() as pack:
        pack.info()
        began = time.perf_counter()
        pack.ask(given)
        asked, spent = time.perf_counter() - began, pack.cpu_seconds()
    found = {
        "resources": size,
        "judgements": len(report.lines),
        "rules alone s": alone,
        "over gRPC s": asked,
        "CPU of the pack s": spent,
    }
    return [{key: round(value, 2) for key, value in found.items()}]
