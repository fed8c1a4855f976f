"""A flame graph of a running Python process, by py-spy (it comes with Ray's dashboard)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

SAMPLES_A_SECOND = 100  # for each of them the process stands still
_SPY = Path(sys.executable).with_name("py-spy")


@contextmanager
def flame_graph(
    pid: int,
    seconds: float,
    svg: Path,
    *,
    title: str,
) -> Iterator[None]:
    """Record what holds the interpreter of `pid` during the block, at most for `seconds`.

    By function. The picture is whole when the block is left.
    """
    command = [
        str(_SPY),
        "record",
        "--gil",
        "--function",
        f"--rate={SAMPLES_A_SECOND}",
        f"--duration={max(1, int(seconds))}",
        f"--pid={pid}",
        f"--output={svg}",
    ]
    with Popen(command, stdout=DEVNULL, stderr=DEVNULL) as recording:
        yield
        recording.wait(timeout=seconds + 30)
    svg.write_text(svg.read_text().replace(" ".join(command), title))
