"""The endpoints that the drift monitor answers."""

from __future__ import annotations

from serve.exposition import collect_metrics, label_metrics, render_exposition
from serve.http.feedback import decode_feedback, decode_mode
from serve.http.messages import Request, Response, json_response
from serve.http.replica import Replica
from vigil.errors import VigilError

_EXPOSITION_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class MonitorEndpoints:
    """Handlers that ask the monitor; NoMonitor (503) is raised while it is away."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def drift(self, request: Request) -> Response:
        """What the drift monitor sees, what its governor decided and why.

        It also says which replica serves which version.
        """
        return json_response(await self._replica.ask_monitor("status"))

    async def drift_mode(self, request: Request) -> Response:
        """Switch the governor's mode by hand; null goes back to the settings' one."""
        mode = decode_mode(request.body)
        return json_response(await self._replica.ask_monitor("switch", mode))

    async def feedback(self, request: Request) -> Response:
        """Take in what people say of scored rows."""
        labels = decode_feedback(request.body, self._replica.settings.max_rows)
        return json_response(await self._replica.ask_monitor("label", labels))

    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics, summed over the replicas.

        While the monitor is away they are this replica's own, under its name.
        """
        try:
            exposition = await self._replica.ask_monitor("exposition")
        except VigilError:
            exposition = self._own_exposition()
        return Response(exposition, _EXPOSITION_TYPE)

    def _own_exposition(self) -> bytes:
        own = collect_metrics(self._replica.metrics.registry)
        return render_exposition([label_metrics(own, replica=self._replica.name)])
