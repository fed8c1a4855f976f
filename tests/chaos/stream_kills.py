"""A consumer that is SIGKILLed at random points: nothing is lost and nothing is there twice.

Each poison record is in the dead letters. Run as a program this file is the executioner: it forks
consumers, a third of a second cheaper than starting each anew.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from serve.settings import ServeSettings
from serve.stream.cli import build_consumer
from serve.stream.scorer import HttpScorer
from tests.running import ROOT
from vigil.home import Home

SHARDS = 3
POISON = (
    '{{"id": "{0}", "features": [1.0, 2.0]}}',
    '{{"id": "{0}", "features": [1, 2, 3',
    "not json {0}",
    '{{"id": "{0}", "features": [1.0, 2.0, "x", 4.0]}}',
    '{{"id": "{0}"}}',
    '{{"features": [1.0, 2.0, 3.0, 4.0], "n": "{0}"}}',
    '{{"id": "{0}", "features": [1.0, 2.0, 3.0, 1e300]}}',
    '{{"id": "{0}", "features": {{"f0": 1.0, "nope": 2.0}}}}',
)


def write_log(
    folder: Path, records: int, poison_every: int, seed: int = 0
) -> tuple[set[str], set[str]]:
    """Fill the folder with a log in SHARDS files; return good ids and poison lines."""
    rng, good, poison = random.Random(seed), set(), set()
    lines: list[list[str]] = [[] for _ in range(SHARDS)]
    for i in range(records):
        if i % poison_every == poison_every // 2:
            line = POISON[(i // poison_every) % len(POISON)].format(f"p{i}")
            poison.add(line)
        else:
            line = json.dumps({"id": f"r{i}", "features": [rng.gauss(10, 1) for _ in range(4)]})
            good.add(f"r{i}")
        lines[i % SHARDS].append(line + "\n")
    folder.mkdir(parents=True)
    for k, part in enumerate(lines):
        (folder / f"{k}.jsonl").write_text("".join(part))
    return good, poison


def run(
    folder: Path, url: str, records: int, kills: int, poison_every: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Consume `records` records with `kills` SIGKILLs; return what was lost, doubled and buried."""
    good, poison = write_log(folder / "in", records, poison_every, seed)
    command = [
        sys.executable,
        "-m",
        "tests.chaos.stream_kills",
        str(folder),
        url,
        str(records),
        str(kills),
        str(seed),
    ]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    if ran.returncode:
        raise RuntimeError(ran.stderr[-2000:])
    out = Counter(json.loads(line)["id"] for line in _lines(folder / "out"))
    dead = Counter(json.loads(line)["raw"] for line in _lines(folder / "dead"))
    return {
        "records": records,
        "kills": json.loads(ran.stdout)["kills"],
        "lost": len(good - out.keys()),
        "invented": len(out.keys() - good),
        "duplicates": sum(n - 1 for n in out.values()),
        "poison": len(poison),
        "poison_missing": len(poison - dead.keys()),
        "dead_letters_too_many": sum(dead.values()) - len(poison),
    }


def _lines(folder: Path) -> list[str]:
    return [
        line for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()
    ]


def _consume(folder: Path, url: str) -> None:
    consumer = build_consumer(
        f"file:{folder / 'in'}",
        [f"file:{folder / 'out'}"],
        f"file:{folder / 'dead'}",
        leases=None,
        scorer=HttpScorer(url),
        home=Home(folder),
        settings=ServeSettings.from_values(stream_batch=40, stream_checkpoint_s=0.05),
    )
    consumer.run(until_end=True)


def _written(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "out").glob("*.jsonl"))


def _execute(folder: Path, url: str, records: int, kills: int, seed: int) -> int:
    """Fork consumers and kill each at work; return how many were killed.

    A consumer is killed when the output has grown to a random point.
    """
    rng, killed = random.Random(seed), 0
    points = sorted(rng.uniform(0, 0.97) for _ in range(kills))
    for point in [*points, None]:
        child = os.fork()
        if not child:
            try:
                _consume(folder, url)
                os._exit(0)
            except BaseException as error:  # the child must not run the parent's code
                print(repr(error), file=sys.stderr)
                os._exit(1)
        if point is None:
            _, status = os.waitpid(child, 0)
            if status:
                raise SystemExit("the last consumer failed")
            break
        while _written(folder) < point * records * 75 and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        try:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            killed += os.WIFSIGNALED(status)
        except (ProcessLookupError, ChildProcessError):
            continue
    return killed


if __name__ == "__main__":
    print(json.dumps({"kills": _execute(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))}))
