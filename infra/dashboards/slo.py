"""What the service owes its callers: of the requests that it could answer, how many it must."""

from __future__ import annotations

OBJECTIVE = 0.999
BUDGET = 1 - OBJECTIVE
SLOW_S = 0.1  # what the slowest of a hundred requests may take in the handler

# Outcomes that are the service's own fault. What a caller did wrong (4xx) is no event at all: a flood of it must neither burn the
# budget nor hide what does. Nor is `Overloaded`: a documented answer with Retry-After, given by Serve before a replica sees the
# request just as by the replica, so half of it would not be counted; it has an alert of its own.
FAULTS = ("InternalError", "NoModel", "ProviderUnavailable", "VigilError")
_FAULT = f'outcome=~"{"|".join(FAULTS)}"'
_VALID = f'outcome=~"ok|{"|".join(FAULTS)}"'

# What HAProxy answers by itself is in no replica's counts. Of the backend of the application it counts what replicas answered
# and its own errors (no replica is there, or none answered in time); the default backend, which has no server, answers 404 when
# Serve has told HAProxy of no application. Kubernetes' own probes end before either.
_PROXY_BACKEND = 'proxy="http-vigil",code="5xx"'
_PROXY_WITHOUT_BACKEND = 'proxy="default_backend",code="4xx"'
_PROXY_REPLICAS = 'proxy="http-vigil",server=~"SERVE_REPLICA_.*",code="5xx"'


def _sum(metric: str, which: str, function: str, window: str) -> str:
    return f"sum({function}({metric}{{{which}}}[{window}]))"


def proxy_failures(function: str, window: str) -> str:
    """PromQL: requests that HAProxy answered with an error of its own; 0 where no HAProxy is scraped.

    `function` is rate or increase.
    """
    backend, nowhere = (
        _sum("haproxy_backend_http_responses_total", which, function, window)
        for which in (_PROXY_BACKEND, _PROXY_WITHOUT_BACKEND)
    )
    replicas = _sum("haproxy_server_http_responses_total", _PROXY_REPLICAS, function, window)
    own = f"{backend} + ({nowhere} or vector(0)) - ({replicas} or vector(0))"
    return f"(clamp_min({own}, 0) or vector(0))"


def proxy_answers(function: str, window: str) -> str:
    """PromQL: requests that HAProxy has answered, by a replica or by itself."""
    which = 'proxy=~"http-vigil|default_backend"'
    return _sum("haproxy_backend_http_responses_total", which, function, window)


def failed_requests(function: str, window: str) -> str:
    """PromQL: requests that failed by the service's own fault, whoever told the caller so."""
    told = _sum("vigil_requests_total", _FAULT, function, window)
    return f"(({told} or vector(0)) + {proxy_failures(function, window)})"


def failure_share(window: str) -> str:
    """PromQL: the share of the requests of the last `window` that failed by the service's own fault; nothing without requests."""
    valid = _sum("vigil_requests_total", _VALID, "rate", window)
    asked = f"(({valid} or vector(0)) + {proxy_failures('rate', window)} > 0)"
    return f"{failed_requests('rate', window)} / {asked}"
