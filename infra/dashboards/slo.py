"""What the service owes its callers: of the requests that it could answer, how many it must."""

from __future__ import annotations

OBJECTIVE = 0.999
BUDGET = 1 - OBJECTIVE
SLOW_S = 0.1  # what the slowest of a hundred requests may take in the handler

# Outcomes that are the service's own fault. What a caller did wrong (4xx) is no event at all: a flood of it must neither burn the
# budget nor hide what does. Nor is `Overloaded`: a documented answer with Retry-After, given by Serve before a replica sees the
# request just as by the replica, so half of it would not be counted; it has an alert of its own.
FAULTS = ("InternalError", "NoModel", "ProviderUnavailable", "VigilError")
BAD = f'outcome=~"{"|".join(FAULTS)}"'
VALID = f'outcome=~"ok|{"|".join(FAULTS)}"'

# What HAProxy answers by itself is in no replica's counts. Of the backend of the application it counts what replicas answered
# and its own errors (no replica is there, or none answered in time); the default backend, which has no server, answers 404 when
# Serve has told HAProxy of no application. Kubernetes' own probes end before either.
BACKEND = 'proxy="http-vigil",code="5xx"'
NOWHERE = 'proxy="default_backend",code="4xx"'
REPLICAS = 'proxy="http-vigil",server=~"SERVE_REPLICA_.*",code="5xx"'


def _sum(metric: str, which: str, function: str, window: str) -> str:
    return f"sum({function}({metric}{{{which}}}[{window}]))"


def proxy_failed(function: str, window: str) -> str:
    """PromQL: requests that HAProxy answered with an error of its own; 0 where no HAProxy is scraped.

    `function` is rate or increase.
    """
    backend, nowhere = (
        _sum("haproxy_backend_http_responses_total", which, function, window)
        for which in (BACKEND, NOWHERE)
    )
    replicas = _sum("haproxy_server_http_responses_total", REPLICAS, function, window)
    own = f"{backend} + ({nowhere} or vector(0)) - ({replicas} or vector(0))"
    return f"(clamp_min({own}, 0) or vector(0))"


def proxy_answered(function: str, window: str) -> str:
    """PromQL: requests that HAProxy has answered, by a replica or by itself."""
    which = 'proxy=~"http-vigil|default_backend"'
    return _sum("haproxy_backend_http_responses_total", which, function, window)


def failed(function: str, window: str) -> str:
    """PromQL: requests that failed by the service's own fault, whoever told the caller so."""
    told = _sum("vigil_requests_total", BAD, function, window)
    return f"(({told} or vector(0)) + {proxy_failed(function, window)})"


def failed_share(window: str) -> str:
    """PromQL: the share of the requests of the last `window` that failed by the service's own fault; nothing without requests."""
    valid = _sum("vigil_requests_total", VALID, "rate", window)
    asked = f"(({valid} or vector(0)) + {proxy_failed('rate', window)} > 0)"
    return f"{failed('rate', window)} / {asked}"
