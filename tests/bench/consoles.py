"""So many open consoles in one process, with the standard library only.

Each polls as it is told to, until this is terminated. `python consoles.py PORT NUMBER
[SECONDS]`: with SECONDS each waits so long instead. Prints what it saw as JSON in the end.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from dataclasses import dataclass, field

TIMEOUT_S = 20.0
STAGGER_S = 2.0


@dataclass
class Seen:
    polls: int = 0
    unchanged: int = 0
    failed: int = 0
    bytes: int = 0
    poll_s: float = 0.0
    failures: set[str] = field(default_factory=set)


async def console(port: int, seen: Seen, fixed_s: float | None) -> None:
    """One page: ask, wait as long as was said, ask again."""
    etag, wait_s, former = "", random.uniform(0, STAGGER_S), STAGGER_S
    while True:
        await asyncio.sleep(wait_s)
        wait_s = 2.0
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status, head, size = await ask(port, etag)
            seen.polls += 1
            seen.unchanged += status == 304
            seen.bytes += size
            if status not in (200, 304):
                raise OSError(f"status {status}")
            etag, seen.poll_s = head.get("etag", ""), float(head["x-vigil-poll-s"])
            told = fixed_s or seen.poll_s
            wait_s, former = (
                told
                * (random.uniform(0.2, 1.2) if told > 2 * former else random.uniform(0.75, 1.25)),
                told,
            )
        except (
            OSError,
            TimeoutError,
            LookupError,
            ValueError,
            asyncio.IncompleteReadError,
        ) as error:
            seen.failed += 1
            seen.failures.add(repr(error)[:200])


async def ask(port: int, etag: str) -> tuple[int, dict[str, str], int]:
    """Status, headers and size of an answer, on a connection of its own.

    A browser's connection has been closed too when it waited long.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            "GET /console/state HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"accept-encoding: gzip\r\nif-none-match: {etag}\r\n"
            "connection: close\r\n\r\n".encode()
        )
        raw = await reader.read()
    finally:
        writer.close()
    head, _, _ = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    named = (line.partition(": ") for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, _, value in named}, len(raw)


async def main(port: int, number: int, fixed_s: float | None) -> None:
    seen, over = Seen(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    tasks = [asyncio.create_task(console(port, seen, fixed_s)) for _ in range(number)]
    await over.wait()
    for task in tasks:
        task.cancel()
    print(json.dumps({**vars(seen), "failures": sorted(seen.failures)[:5]}))


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else None)
    )
