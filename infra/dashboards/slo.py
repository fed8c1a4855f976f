"""What the service owes its callers: of the requests that it could answer, how many it must."""

from __future__ import annotations

from dataclasses import dataclass

OBJECTIVE = 0.999
BUDGET = 1 - OBJECTIVE
SLOW_S = 0.1  # what the slowest of a hundred requests may take in the handler

# Outcomes that are the service's own fault. What a caller did wrong (4xx) is no event at all: a
# flood of it must neither burn the budget nor hide what does. Nor is `Overloaded`: a documented
# answer with Retry-After, given by Serve before a replica sees the request just as by the replica,
# so half of it would not be counted; it has an alert of its own.
FAULTS = ("InternalError", "NoModel", "ProviderUnavailable", "VigilError")
_FAULT = f'outcome=~"{"|".join(FAULTS)}"'
_VALID = f'outcome=~"ok|{"|".join(FAULTS)}"'

# What HAProxy answers by itself is in no replica's counts. Of the backend of the application it
# counts what replicas answered and its own errors (no replica is there, or none answered in time);
# the default backend, which has no server, answers 404 when Serve has told HAProxy of no
# application. Kubernetes' own probes end before either.
_PROXY_BACKEND = 'proxy="http-vigil",code="5xx"'
_PROXY_WITHOUT_BACKEND = 'proxy="default_backend",code="4xx"'
_PROXY_REPLICAS = 'proxy="http-vigil",server=~"SERVE_REPLICA_.*",code="5xx"'
_ANY_BACKEND = 'proxy=~"http-vigil|default_backend"'

_REQUESTS = "vigil_requests_total"
_BACKEND_RESPONSES = "haproxy_backend_http_responses_total"
_SERVER_RESPONSES = "haproxy_server_http_responses_total"


@dataclass(frozen=True)
class Growth:
    """How a counter grew: `function` (rate or increase) over a window, as PromQL."""

    function: str
    window: str

    def of(self, metric: str, labels: str) -> str:
        """Return the sum over the series with these labels."""
        return f"sum({self.function}({metric}{{{labels}}}[{self.window}]))"


def proxy_failures(growth: Growth) -> str:
    """PromQL: requests that HAProxy answered with an error of its own; 0 where none is scraped."""
    backend = growth.of(_BACKEND_RESPONSES, _PROXY_BACKEND)
    without_backend = growth.of(_BACKEND_RESPONSES, _PROXY_WITHOUT_BACKEND)
    replicas = growth.of(_SERVER_RESPONSES, _PROXY_REPLICAS)
    own = f"{backend} + ({without_backend} or vector(0)) - ({replicas} or vector(0))"
    return f"(clamp_min({own}, 0) or vector(0))"


def proxy_answers(growth: Growth) -> str:
    """PromQL: requests that HAProxy has answered, by a replica or by itself."""
    return growth.of(_BACKEND_RESPONSES, _ANY_BACKEND)


def failed_requests(growth: Growth) -> str:
    """PromQL: requests that failed by the service's own fault, whoever told the caller so."""
    replicas = growth.of(_REQUESTS, _FAULT)
    return f"(({replicas} or vector(0)) + {proxy_failures(growth)})"


def failure_share(window: str) -> str:
    """PromQL: the share of requests that failed by the service's own fault.

    Of those of the last `window`; nothing without requests.
    """
    rate = Growth("rate", window)
    valid = f"(({rate.of(_REQUESTS, _VALID)} or vector(0)) + {proxy_failures(rate)} > 0)"
    return f"{failed_requests(rate)} / {valid}"
