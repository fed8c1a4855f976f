"""The data source by which Grafana reads incidents: of the type `graphite`, which is no plugin."""

from __future__ import annotations

from vigil.json_types import JsonObject

INCIDENTS_UID = "vigil-incidents"
_PATH = "/incidents/graphite"
# With a later version Grafana would ask for functions and tags of series, of which there are none.
_OPTIONS = {"graphiteVersion": "1.0"}
_KEY_OPTIONS = {**_OPTIONS, "httpHeaderName1": "X-API-Key"}


def incident_source(url: str, key: str | None = None) -> JsonObject:
    """Return what Grafana is provisioned with to read the incidents of the service at `url`.

    key: what Grafana itself replaces by an API key: `$NAME` of its environment, `$__file{PATH}`
    """
    source = {
        "name": "Vigil incidents",
        "uid": INCIDENTS_UID,
        "type": "graphite",
        "access": "proxy",
        "url": url.rstrip("/") + _PATH,
        "jsonData": _OPTIONS,
    }
    if key is None:
        return source
    return {**source, "jsonData": _KEY_OPTIONS, "secureJsonData": {"httpHeaderValue1": key}}


def source_configuration(url: str, key_file: str | None = None) -> JsonObject:
    """Return a file of `provisioning/datasources` for a Grafana of one's own."""
    key = None if key_file is None else f"$__file{{{key_file}}}"
    return {"apiVersion": 1, "datasources": [incident_source(url, key)]}
