"""`make bench ARGS=load`: an open loop of so many requests a second, and what it did.

It runs against a running platform.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from serve.local import simulate
from serve.local.simulate import Tally
from serve.local.telemetry import telemetry
from tests.bench.report import over
from vigil.errors import PlatformError
from vigil.settings import HomeSettings

QUANTILES = {"p50 ms": 0.5, "p90 ms": 0.9, "p99 ms": 0.99, "p99.9 ms": 0.999, "max ms": 1.0}


def traffic(rate: float, seconds: float) -> list[dict[str, Any]]:
    """One row; latencies count from when a request was due.

    `replicas` are those seen, with the second each count was new.
    """
    platform = HomeSettings().open().platform()
    if platform is None:
        raise PlatformError("no platform runs here: start one with `vigil up`")
    names = platform.service.get("/readyz")["features"]
    rows = telemetry(5000, seed=5).X
    if rows.shape[1] != len(names):
        rows = rows[:, [i % rows.shape[1] for i in range(len(names))]]
    tally, began = Tally(), time.monotonic()
    ends = began + seconds
    loop = simulate.send_rows(
        platform.url,
        lambda i: rows[i % len(rows)],
        rate,
        tally=tally,
        stop=lambda _: time.monotonic() > ends,
        headers=platform.headers,
        connections=64,
    )
    thread = threading.Thread(target=lambda: asyncio.run(loop))
    thread.start()
    scaled: list[tuple[float, int]] = []
    while thread.is_alive():
        try:
            count = len(platform.service.get("/drift")["replicas"])
        except (OSError, LookupError):
            count = 0
        if count and (not scaled or scaled[-1][1] != count):
            scaled.append((round(time.monotonic() - began, 1), count))
        thread.join(1.0)
    answered = tally.rows - tally.failed
    return [
        {
            "asked for /s": rate,
            "answered /s": round(over(answered, time.monotonic() - began) or 0.0, 1),
            "requests": tally.rows,
            **{name: round(tally.quantile_ms(q), 2) for name, q in QUANTILES.items()},
            "errors": ", ".join(
                f"{status}: {n}" for status, n in tally.by_status.items() if status != "200"
            )
            or "none",
            "replicas": ", ".join(f"{n} from {at} s" for at, n in scaled),
        }
    ]
