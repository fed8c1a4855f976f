"""The table of all endpoints of a replica, and the gateway in front of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from serve.http.bodies import BodyReader
from serve.http.console import console_routes
from serve.http.console_state import ConsoleState
from serve.http.docs import docs_routes
from serve.http.gateway import Gateway
from serve.http.graphite import EVENTS_PATH, RENDER_PATH, GraphiteEndpoints
from serve.http.incidents import IncidentEndpoints
from serve.http.line_stream import LineEndpoint
from serve.http.model_info import ModelInfoEndpoints
from serve.http.monitoring import MonitorEndpoints
from serve.http.operators import OperatorEndpoints
from serve.http.replica import Replica
from serve.http.routes import (
    INCIDENT_PATH,
    MODEL_PATH,
    VERSION_PATH,
    Route,
    RouteTable,
    action_route,
    open_route,
    scoring_route,
)
from serve.http.scoring import ModelScorer, ScoringEndpoints
from serve.http.stream_slots import StreamSlots


def build_gateway(
    replica: Replica,
    scorer: ModelScorer,
    *,
    bodies: BodyReader,
    slots: StreamSlots,
    clock: Callable[[], float] = time.monotonic,
) -> Gateway:
    """Return the ASGI application of a replica; `clock` tells how old the console's state is."""
    scoring = ScoringEndpoints(replica, scorer)
    lines = LineEndpoint(
        replica,
        scorer,
        scoring,
        bodies=bodies,
        slots=slots,
    )
    routes = RouteTable([*_scoring_routes(scoring, lines), *_other_routes(replica, clock)])
    return Gateway(
        routes,
        replica.settings,
        replica.metrics,
        observer=replica.observer,
        bodies=bodies,
    )


def _other_routes(replica: Replica, clock: Callable[[], float]) -> Iterator[Route]:
    info = ModelInfoEndpoints(replica)
    yield from _probe_routes(info)
    yield from _model_routes(info)
    yield from _document_routes(info)
    yield from _monitor_routes(MonitorEndpoints(replica))
    yield from _operator_routes(OperatorEndpoints(replica))
    yield from _incident_routes(IncidentEndpoints(replica), OperatorEndpoints(replica))
    yield from _graphite_routes(GraphiteEndpoints(replica))
    yield from _drift_mode_routes(MonitorEndpoints(replica), OperatorEndpoints(replica))
    yield from _console_routes(info, _console_state(replica, info, clock))


def _scoring_routes(scoring: ScoringEndpoints, lines: LineEndpoint) -> Iterator[Route]:
    yield scoring_route("/predict", scoring.predict, lines.predict_lines)
    yield scoring_route("/invocations", scoring.invocations)
    yield scoring_route(f"{MODEL_PATH}/infer", scoring.infer)
    yield scoring_route(f"{VERSION_PATH}/infer", scoring.infer)


def _probe_routes(info: ModelInfoEndpoints) -> Iterator[Route]:
    yield open_route("/healthz", info.healthz)
    yield open_route("/readyz", info.readyz)
    yield open_route("/ping", info.readyz)
    yield open_route("/v2/health/live", info.healthz)
    yield open_route("/v2/health/ready", info.readyz)


def _model_routes(info: ModelInfoEndpoints) -> Iterator[Route]:
    yield Route("/version", info.version)
    yield Route("/v2", info.server)
    for path in (MODEL_PATH, VERSION_PATH):
        yield Route(path, info.model)
        yield Route(f"{path}/ready", info.model)


def _document_routes(info: ModelInfoEndpoints) -> Iterator[Route]:
    yield Route("/openapi.json", info.openapi)
    for path, handler in docs_routes().items():
        yield Route(path, handler)


def _monitor_routes(monitor: MonitorEndpoints) -> Iterator[Route]:
    yield Route("/drift", monitor.drift)
    yield Route("/metrics", monitor.metrics)


def _drift_mode_routes(monitor: MonitorEndpoints, operators: OperatorEndpoints) -> Iterator[Route]:
    yield action_route("/feedback", monitor.feedback, operators.require_own_page)
    yield action_route("/drift/mode", monitor.drift_mode, operators.require_operator)


def _operator_routes(operators: OperatorEndpoints) -> Iterator[Route]:
    yield action_route("/models/refresh", operators.refresh, operators.require_own_page)
    yield action_route("/models/promote", operators.promote, operators.require_operator)
    yield action_route("/models/rollback", operators.rollback, operators.require_operator)


def _incident_routes(incidents: IncidentEndpoints, operators: OperatorEndpoints) -> Iterator[Route]:
    check = operators.require_operator
    yield Route("/incidents", incidents.incidents)
    yield Route(INCIDENT_PATH, incidents.incident)
    yield Route("/verdicts", incidents.verdicts)
    yield Route("/silences", incidents.silences)
    yield Route("/rules", incidents.rules)
    yield action_route(f"{INCIDENT_PATH}/verdict", incidents.verdict, check)
    yield action_route("/silences/add", incidents.add_silence, check)
    yield action_route("/silences/remove", incidents.remove_silence, check)
    yield action_route("/rules/remove", incidents.remove_rule, check)


def _graphite_routes(graphite: GraphiteEndpoints) -> Iterator[Route]:
    yield Route(EVENTS_PATH, graphite.events)
    yield Route(RENDER_PATH, graphite.render, ("POST",))


def _console_routes(info: ModelInfoEndpoints, state: ConsoleState) -> Iterator[Route]:
    yield Route("/console/state", state.answer)
    yield open_route("/console/about", info.console_about)
    for path, handler in console_routes().items():
        yield open_route(path, handler)


def _console_state(
    replica: Replica, info: ModelInfoEndpoints, clock: Callable[[], float]
) -> ConsoleState:
    return ConsoleState(
        ask=lambda: replica.ask_monitor("console"),
        facts=info.console_facts,
        polls=replica.metrics.console_polls,
        clock=clock,
    )
