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


def failed_share(window: str) -> str:
    """PromQL: the share of the requests of the last `window` that failed by the service's own fault; nothing without requests."""
    bad, valid = (f"sum(rate(vigil_requests_total{{{which}}}[{window}]))" for which in (BAD, VALID))
    return f"({bad} or 0 * {valid}) / {valid}"
