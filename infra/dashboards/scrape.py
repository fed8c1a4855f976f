"""The configuration of a Prometheus that is not the cluster's.

Such as one on the machine where `vigil up` runs, or one that you have.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from vigil.json_types import JsonObject

JOB = "vigil"
_RAY_JOB = "ray"
_STREAM_JOB = "vigil-stream"


def scrape_configuration(
    url: str,
    ray_url: str,
    ray_token_file: str,
    *,
    key_file: str | None = None,
    streams: tuple[str, ...] = (),
    every: str = "15s",
) -> JsonObject:
    """Return prometheus.yml: what is scraped, and how often.

    The service at `url`, the nodes that Ray's dashboard at `ray_url` names, and stream consumers
    (host:port). `key_file` holds an API key, where the service asks for one.
    """
    jobs = [_service_job(url, key_file), _ray_job(ray_url, ray_token_file)]
    if streams:
        jobs.append({"job_name": _STREAM_JOB, "static_configs": [{"targets": list(streams)}]})
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": ["rules.yml"],
        "scrape_configs": jobs,
    }


def _service_job(url: str, key_file: str | None) -> JsonObject:
    address = urlsplit(url)
    job = {
        "job_name": JOB,
        "scheme": address.scheme,
        "static_configs": [{"targets": [address.netloc]}],
    }
    return {**job, "authorization": _bearer(key_file)} if key_file else job


def _ray_job(url: str, token_file: str) -> JsonObject:
    address = urlsplit(url)
    discovery = {
        "url": f"{address.scheme}://{address.netloc}/api/prometheus/sd",
        "refresh_interval": "10s",
        "authorization": _bearer(token_file),
    }
    return {"job_name": _RAY_JOB, "http_sd_configs": [discovery]}


def _bearer(file: str) -> dict[str, str]:
    return {"type": "Bearer", "credentials_file": file}
