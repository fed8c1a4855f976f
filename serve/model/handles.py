"""Other Serve applications, and all replicas of one's own, asked by handle off the event loop.

`serve.get_app_handle` asks the controller and waits for its answer; a handle that is used for the
first time asks the GCS where it is; and its router looks up each new replica there. Where the head
is away each of them waits until it is back. On a replica's own loop nobody would be served for that
long, so a handle is opened in a thread, kept, and routes on a loop of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray import serve
from ray.serve.exceptions import BackPressureError, RayServeException


def open_handle(name: str, get: Callable[[str], Any] = serve.get_app_handle) -> Any:
    """A handle of the application `name` that waits for nobody when it is used. Blocks.

    Raises RayServeException when there is no such application; `get` is what gives Serve's handle.
    """
    handle = get(name)
    if not handle.is_initialized:  # Serve gives one handle to all who ask in this process
        # By default its router would share the loop of whoever uses it first. Serve has no public
        # way to say otherwise but an environment variable for every handle of the cluster.
        handle._init(_run_router_in_separate_loop=True)
    return handle


class Application:
    """The Serve application `name`. The handle is opened once, and anew when it leads nowhere."""

    def __init__(self, name: str, get: Callable[[str], Any] | None = None) -> None:
        self._name = name
        self._get = get
        self._handle: Any = None
        self._opening: asyncio.Future[Any] | None = None

    async def ask(self, method: str, *args: Any) -> Any:
        """What `method` of one replica answers; raises what it raised.

        Waits as long as controller and replica take: the caller says how long it has patience.
        """
        handle = await self._opened()
        with self._kept():
            return await getattr(handle, method).remote(*args)

    async def ask_all(self, method: str) -> list[Any]:
        """What `method` of every replica answers, in any order; raises what one of them raised."""
        handle = await self._opened()
        with self._kept():
            return await handle.broadcast(method).results_async()

    def wait_for(
        self,
        timeout_s: float,
        method: str,
        *args: Any,
    ) -> Any:
        """What `method` of one replica answers, for a thread, which is blocked for so long.

        Raises what `method` raised, or TimeoutError.
        """
        self._handle = self._handle or self._open()
        with self._kept():
            answer = getattr(self._handle, method).remote(*args)
            return answer.result(timeout_s=timeout_s)

    def _open(self) -> Any:
        return open_handle(self._name, self._get or serve.get_app_handle)

    async def _opened(self) -> Any:
        """The handle; of many who wait for the first one asks. Who gives up stops nobody else."""
        if self._handle is not None:
            return self._handle
        if self._opening is None:
            self._opening = asyncio.ensure_future(asyncio.to_thread(self._open))
            self._opening.add_done_callback(self._keep)
        return await asyncio.shield(self._opening)

    def _keep(self, opened: asyncio.Future[Any]) -> None:
        self._opening = None
        if not opened.cancelled() and opened.exception() is None:
            self._handle = opened.result()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Open the handle anew next time when Serve says that it leads nowhere.

        A replica that is slow, full or restarted is no reason: the router follows those itself.
        """
        try:
            yield
        except BackPressureError:
            raise
        except RayServeException:  # the application was deleted, or has another ingress now
            self._handle = None
            raise
