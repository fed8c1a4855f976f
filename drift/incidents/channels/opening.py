"""Channels from the setting `notify`. A URL that is refused is named without its secret parts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from drift.incidents.channels.alertmanager import AlertmanagerChannel
from drift.incidents.channels.channel import Channel, ChannelContext
from drift.incidents.channels.cloudevents import CloudEventsChannel

_NEXT_URL = re.compile(r"\s*,\s*(?=[A-Za-z][A-Za-z0-9+.-]*:)|\s*,\s*$")
_HTTP = ("http", "https")
_HELP = (
    "it must be cloudevents+https://HOST/PATH, alertmanager+http://HOST:PORT, "
    "or a URL that apprise knows (https://appriseit.com/services)"
)
HttpChannel = Callable[..., Channel]
_HTTP_CHANNELS: dict[str, HttpChannel] = {
    "cloudevents": CloudEventsChannel,
    "alertmanager": AlertmanagerChannel,
}


class ChannelUrl(NamedTuple):
    """One URL of the setting, and the name of its channel."""

    name: str
    text: str

    @property
    def scheme(self) -> str:
        return _scheme(self.text)


def split_channel_urls(setting: str) -> list[ChannelUrl]:
    """The URLs of the setting `notify`, separated by commas.

    Channels are named by their kind and place among those of that kind: `slack-1`.
    """
    counts = Counter[str]()
    urls: list[ChannelUrl] = []
    for text in filter(None, _NEXT_URL.split(setting.strip())):
        kind = _scheme(text).partition("+")[0]
        counts[kind] += 1
        urls.append(ChannelUrl(f"{kind}-{counts[kind]}", text))
    return urls


def _scheme(text: str) -> str:
    """The scheme of a URL; of what is none nothing is shown."""
    scheme, separator, _ = text.partition("://")
    return scheme.lower() if separator else "url"


def open_channels(setting: str, context: ChannelContext | None = None) -> list[Channel]:
    """The channels of the setting `notify`. Raises ValueError that names the first refused URL."""
    told = context or ChannelContext()
    return [_open_channel(url, told) for url in split_channel_urls(setting)]


def _open_channel(url: ChannelUrl, context: ChannelContext) -> Channel:
    kind, _, transport = url.scheme.partition("+")
    if kind in _HTTP_CHANNELS:
        return _open_http_channel(
            url,
            kind,
            transport,
            context=context,
        )
    return _open_apprise_channel(url, context)


def _open_http_channel(
    url: ChannelUrl,
    kind: str,
    transport: str,
    *,
    context: ChannelContext,
) -> Channel:
    address = url.text.partition("+")[2]
    parts = _split(address)
    if transport not in _HTTP or parts is None or not parts.hostname:
        raise ValueError(f"{url.name} ({url.scheme}://****): {_HELP}")
    return _HTTP_CHANNELS[kind](
        url.name,
        address,
        _place(url.scheme, parts),
        context=context,
    )


def _split(address: str) -> SplitResult | None:
    """The parts of a URL; None where it is none."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # is checked when it is read
    except ValueError:
        return None
    return parts


def _place(scheme: str, parts: SplitResult) -> str:
    """The URL without user, password, path and query: a token may be in each of them."""
    host = parts.netloc.rpartition("@")[2]
    rest = "/****" if parts.path.strip("/") or parts.query else ""
    return f"{scheme}://{host}{rest}"


def _open_apprise_channel(url: ChannelUrl, context: ChannelContext) -> Channel:
    from drift.incidents.channels.apprise import AppriseChannel, open_service

    service = open_service(url.text)
    if service is None:
        raise ValueError(f"{url.name} ({url.scheme}://****): {_HELP}")
    return AppriseChannel(
        url.name,
        service,
        f"{url.scheme}://****",
        context=context,
    )
