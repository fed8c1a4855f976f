"""Deliveries to somebody else's HTTP receiver: how they are signed, and what an answer means."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from vigil import http

DELIVERY_TIMEOUT_S = 10.0
_TRANSIENT = (408, 425, 429)  # and every 5xx


@dataclass(frozen=True)
class Delivery:
    """How an attempt ended. `status` 0: nobody answered."""

    status: int
    reason: str = ""

    @property
    def is_taken(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_refused(self) -> bool:
        """Whether another attempt would end the same way."""
        return 400 <= self.status < 500 and self.status not in _TRANSIENT


def webhook_signature(
    secret: bytes,
    timestamp: str,
    body: bytes,
) -> str:
    """The header X-Vigil-Signature: HMAC-SHA256 over "<timestamp>.<body>".

    Receivers compare it in constant time and refuse old timestamps.
    """
    signed = timestamp.encode() + b"." + body
    return f"v1={hmac.digest(secret, signed, 'sha256').hex()}"


def signed_headers(
    secret: bytes,
    body: bytes,
    *,
    delivery_id: str,
    now: float,
) -> dict[str, str]:
    """The headers that tell the receiver who sent `body`, when, and whether it came before."""
    timestamp = str(int(now))
    return {
        "x-vigil-timestamp": timestamp,
        "x-vigil-delivery": quote(delivery_id),
        "x-vigil-signature": webhook_signature(secret, timestamp, body),
    }


def post_delivery(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    use_proxy: bool = True,
) -> Delivery:
    """Post a body once; how that ended."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    try:
        with http.open_response(
            "POST",
            url,
            headers=headers,
            content=body,
            timeout_s=DELIVERY_TIMEOUT_S,
            use_proxy=use_proxy,
        ) as response:
            status = response.status_code
    except OSError as error:
        return Delivery(0, f"{host} does not answer: {type(error).__name__}")
    return Delivery(status, f"{host} answered {status}")
