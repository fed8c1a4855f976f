"""The load: an open loop of one-row requests, that says what became of each.

It runs in a pod beside the platform.

python load.py RATE SECONDS [SHIFT]: ends by itself after SECONDS, or when /tmp/load-stop is there.
SHIFT moves some features by so many standard deviations. Prints `started` with the first answer,
and a JSON object in the end.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import pathlib
import sys
import time
from typing import Any

import aiohttp
import numpy as np

URL = os.environ.get("LOAD_URL", "http://vigil-serve-svc:8000")
STOP = pathlib.Path("/tmp/load-stop")
CONNECTIONS, TIMEOUT_S = 16, 10.0
MOST_FAILURES = 20
SHIFTED = 5  # features


def rows(shift: float) -> list[bytes]:
    """Bodies of requests: what the built-in telemetry says next, or the same moved away."""
    from serve.local.telemetry import telemetry

    table = telemetry(4000, seed=2)
    moved = table.X.copy()
    moved[:, :SHIFTED] += shift * table.X[:, :SHIFTED].std(axis=0)
    return [json.dumps({"features": row}).encode() for row in np.round(moved, 4).tolist()]


class Tally:
    """What became of the requests; `began` of each is in seconds since the first one."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.latencies: list[float] = []
        self.failures: list[dict[str, Any]] = []
        self.versions: collections.Counter[str] = collections.Counter()

    def answered(self, began: float, version: str) -> None:
        if not self.latencies:
            print("started", flush=True)
        self.latencies.append(time.monotonic() - began)
        self.versions[version] += 1

    def failed(self, began: float, error: str) -> None:
        took = round(time.monotonic() - began, 3)
        self.failures.append({"at": round(began - self.started, 2), "took": took, "error": error})

    def to_json(self) -> dict[str, Any]:
        latencies = np.array(self.latencies or [0.0]) * 1000
        at = [one["at"] for one in self.failures]
        return {
            "requests": len(self.latencies) + len(self.failures),
            "failed": len(self.failures),
            "away_s": round(max(at) - min(at), 1) if at else 0.0,
            "failures": self.failures[:MOST_FAILURES],
            "p50_ms": round(float(np.percentile(latencies, 50)), 1),
            "p99_ms": round(float(np.percentile(latencies, 99)), 1),
            "slowest_ms": round(float(latencies.max()), 1),
            "versions": dict(self.versions),
        }


async def ask(session: aiohttp.ClientSession, body: bytes, tally: Tally) -> None:
    began = time.monotonic()
    try:
        async with session.post(f"{URL}/predict", data=body) as answer:
            text = await answer.read()
            if answer.status == 200:
                tally.answered(began, answer.headers.get("X-Vigil-Model-Version", ""))
            else:
                tally.failed(began, f"{answer.status} {text[:120]!r}")
    except (aiohttp.ClientError, TimeoutError) as error:
        tally.failed(began, f"{type(error).__name__}: {error}")


async def main(rate: float, seconds: float, shift: float) -> None:
    STOP.unlink(missing_ok=True)
    bodies = rows(shift)
    headers = {
        "Authorization": f"Bearer {os.environ['VIGIL_API_KEY']}",
        "Content-Type": "application/json",
    }
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=headers
    ) as session:
        tally = Tally()
        asked: set[asyncio.Task[None]] = set()
        number = 0
        while time.monotonic() - tally.started < seconds and not STOP.exists():
            task = asyncio.create_task(ask(session, bodies[number % len(bodies)], tally))
            asked.add(task)
            task.add_done_callback(asked.discard)
            number += 1
            await asyncio.sleep(max(0.0, tally.started + number / rate - time.monotonic()))
        await asyncio.gather(*asked)
    print(json.dumps(tally.to_json()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), float(sys.argv[2]), float((*sys.argv, "0")[3])))
