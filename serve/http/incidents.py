"""`/incidents`: what is open, what was, and what people say of it; silences and dismissal rules.

The drift monitor has them; a replica asks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

import msgspec

from serve.http.messages import Request, Response, json_response
from serve.http.operators import actor_of
from serve.http.replica import Replica
from serve.http.row_context import TimeValue
from serve.http.rows import decode_body
from serve.http.sent_values import abbreviate
from train.table.cells import MAX_ENTITY_LENGTH
from vigil.errors import MalformedRequest
from vigil.json_types import JsonObject
from vigil.timestamps import to_unix_seconds

MAX_PAGE_INCIDENTS = 1000
_DEFAULT_PAGE = 50
_VERDICT_HINT = 'send {"verdict": "confirm" | "dismiss", "reason": "..", "rule": true | false}'
_SILENCE_HINT = 'send {"from": TIME, "to": TIME, "entity": ".." | null, "reason": ".."}'
_ID_HINT = 'send {"id": ".."}'
_Reason = Annotated[str, msgspec.Meta(max_length=500)]


class RuleBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a dismissal holds back from now on.

    entity: whose rows; null: everybody's; without it, that of an incident with one entity
    features: of the incident; none: the leading ones
    until: null: for good
    """

    entity: str | msgspec.UnsetType | None = msgspec.UNSET
    features: list[str] = []
    until: TimeValue | None = None


class VerdictBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a person says of an incident; `rule` makes a rule of a dismissal."""

    verdict: Literal["confirm", "dismiss"]
    reason: _Reason = ""
    rule: RuleBody | bool = False


class SilenceBody(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from"}):
    """A time in which rows open no incident: of one entity, or of all."""

    since: TimeValue
    to: TimeValue
    entity: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ENTITY_LENGTH)] | None = None
    reason: _Reason = ""


class RecordIdBody(msgspec.Struct, forbid_unknown_fields=True):
    """A silence or a rule that is to go."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class IncidentEndpoints:
    """Handlers that ask the monitor; NoMonitor (503) is raised while it is away."""

    def __init__(self, replica: Replica) -> None:
        self._ask = replica.ask_monitor

    async def _answer(self, method: str, *args: Any) -> Response:
        return json_response(await self._ask(method, *args))

    async def incidents(self, request: Request) -> Response:
        """A page of incidents, the latest first."""
        query = IncidentQuery.parse(request.query)
        return await self._answer("incidents", query.state, query.limit, query.next)

    async def incident(self, request: Request) -> Response:
        """One incident, with the rows around it, and what people have said of it."""
        return await self._answer("incident", request.incident_id)

    async def verdict(self, request: Request) -> Response:
        """Confirm or dismiss an incident."""
        body = decode_body(request.body, VerdictBody, _VERDICT_HINT)
        order = {
            "incident": request.incident_id,
            "verdict": "confirmed" if body.verdict == "confirm" else "dismissed",
            "reason": body.reason,
            "by": actor_of(request),
            "rule": _rule_order(body),
        }
        return await self._answer("judge_incident", order)

    async def verdicts(self, request: Request) -> Response:
        """The incidents that people have judged, with their worst rows."""
        return await self._answer("verdicts")

    async def silences(self, request: Request) -> Response:
        """The silences, by their begin, and how the calendar of maintenance was read."""
        return await self._answer("silences")

    async def add_silence(self, request: Request) -> Response:
        """Silence an entity, or all, for a time."""
        body = decode_body(request.body, SilenceBody, _SILENCE_HINT)
        order = {
            "since": _unix_seconds("from", body.since),
            "until": _unix_seconds("to", body.to),
            "entity": body.entity,
            "reason": body.reason,
            "by": actor_of(request),
        }
        return await self._answer("add_silence", order)

    async def remove_silence(self, request: Request) -> Response:
        """Take a silence back."""
        body = decode_body(request.body, RecordIdBody, _ID_HINT)
        return await self._answer("remove_silence", body.id)

    async def rules(self, request: Request) -> Response:
        """The dismissal rules, the latest last."""
        return await self._answer("dismissal_rules")

    async def remove_rule(self, request: Request) -> Response:
        """Undo a dismissal rule: incidents that it holds back are announced."""
        body = decode_body(request.body, RecordIdBody, _ID_HINT)
        return await self._answer("remove_rule", body.id, actor_of(request))


class IncidentQuery(msgspec.Struct, frozen=True):
    """Which incidents are listed; `next` is the cursor that the page before gave."""

    state: Literal["open", "closed"] | None = None
    limit: int = _DEFAULT_PAGE
    next: str | None = None

    @classmethod
    def parse(cls, query: str) -> IncidentQuery:
        """Raises MalformedRequest, which names the parameter."""
        given = query_parameters(query, cls.__struct_fields__)
        try:
            parsed = msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            raise MalformedRequest(f"the query is refused: {error}") from error
        if not 1 <= parsed.limit <= MAX_PAGE_INCIDENTS:
            raise MalformedRequest(f"limit must be 1 to {MAX_PAGE_INCIDENTS}")
        return parsed


def query_parameters(query: str, names: Sequence[str]) -> dict[str, str]:
    """Return the values of a query by name, the last where one comes twice.

    Raises MalformedRequest for a name that is none of `names`.
    """
    given = {name: values[-1] for name, values in parse_qs(query).items()}
    unknown = set(given) - set(names)
    if unknown:
        allowed = ", ".join(names)
        raise MalformedRequest(f"no parameter {abbreviate(min(unknown))}; there are {allowed}")
    return given


def _rule_order(body: VerdictBody) -> JsonObject | None:
    """The rule that a dismissal asks for, in plain values; None without one."""
    if not body.rule:
        return None
    if body.verdict != "dismiss":
        raise MalformedRequest("only a dismissal makes a rule")
    rule = body.rule if isinstance(body.rule, RuleBody) else RuleBody()
    order: JsonObject = {"features": rule.features, "until": None}
    if rule.entity is not msgspec.UNSET:
        order["entity"] = rule.entity
    if rule.until is not None:
        order["until"] = _unix_seconds("rule.until", rule.until)
    return order


def _unix_seconds(field: str, value: str | float) -> float:
    try:
        return to_unix_seconds(value)
    except ValueError as error:
        message = f"`{field}`: {abbreviate(value)} is not a time in ISO 8601 or milliseconds"
        raise MalformedRequest(message) from error
