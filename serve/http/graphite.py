"""`/incidents/graphite`: what Grafana's own data source of the type `graphite` asks.

Incidents are events of Graphite, which Grafana draws as annotations: no plugin is needed. Times are
in the forms that Grafana sends, of those that graphite-web reads (`attime.py`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import msgspec

from serve.http.incidents import query_parameters
from serve.http.messages import Request, Response, json_response
from serve.http.refusals import GRAPHITE_PATH
from serve.http.replica import Replica
from serve.http.sent_values import abbreviate
from vigil.errors import MalformedRequest

EVENTS_PATH = f"{GRAPHITE_PATH}/events/get_data"
RENDER_PATH = f"{GRAPHITE_PATH}/render"
EVENT_PARAMETERS = ("from", "until", "tags")
_UNIX_SECONDS = re.compile(r"\d{1,11}", re.ASCII)  # 13 digits would be milliseconds
_RELATIVE = re.compile(r"(now)?(?:([+-])(\d{1,9})(s|min|h|d|w|mon|y)[a-z]*)?", re.ASCII)
_DAY_S = 86_400.0
_UNIT_S = {
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": _DAY_S,
    "w": 7 * _DAY_S,
    "mon": 30 * _DAY_S,
    "y": 365 * _DAY_S,
}


class EventQuery(msgspec.Struct, frozen=True):
    """Which events are asked for: from `since` to `until` (Unix seconds), with all of the tags."""

    since: float
    until: float
    tags: list[str]

    @classmethod
    def parse(cls, query: str, now: float) -> EventQuery:
        """Raises MalformedRequest, which names the parameter.

        Without `from` it is all that was, without `until` all till now, as in Graphite.
        """
        given = query_parameters(query, EVENT_PARAMETERS)
        return cls(
            since=read_graphite_time("from", given.get("from", "0"), now),
            until=read_graphite_time("until", given.get("until", "now"), now),
            tags=given.get("tags", "").split(),
        )


class GraphiteEndpoints:
    """Handlers that ask the monitor; NoMonitor (503) is raised while it is away."""

    def __init__(self, replica: Replica, clock: Callable[[], float] = time.time) -> None:
        """`clock`: Unix seconds."""
        self._ask = replica.ask_monitor
        self._clock = clock

    async def events(self, request: Request) -> Response:
        """Begins and ends of incidents, the latest last."""
        query = EventQuery.parse(request.query, self._clock())
        found = await self._ask("incident_events", query.since, query.until, query.tags)
        return json_response(found)

    async def render(self, request: Request) -> Response:
        """No series, whatever is asked for: Grafana's "Save & test" asks for that of a constant."""
        return json_response([])


def read_graphite_time(name: str, text: str, now: float) -> float:
    """Return the Unix seconds of a time: Unix seconds, `now`, `-6h`, `-5min`, `now-1mon`.

    A month has 30 days and a year 365, as in Graphite. Raises MalformedRequest.
    """
    if _UNIX_SECONDS.fullmatch(text):
        return float(text)
    match = _RELATIVE.fullmatch(text)
    if match is None:
        message = f"`{name}`: {abbreviate(text)} is no time: send Unix seconds, now, -30min or -6h"
        raise MalformedRequest(message)
    return now + _offset_s(match)


def _offset_s(match: re.Match[str]) -> float:
    """How far a relative time is from now."""
    _, sign, number, unit = match.groups()
    if unit is None:
        return 0.0
    seconds = int(number) * _UNIT_S[unit]
    return -seconds if sign == "-" else seconds
