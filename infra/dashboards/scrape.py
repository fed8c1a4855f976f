"""The configuration of a Prometheus that is not the cluster's: one on the machine where `vigil up` runs, or one that you have."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

JOB, _RAY_JOB, _STREAM_JOB = "vigil", "ray", "vigil-stream"


def scrape_configuration(
    url: str,
    ray_url: str,
    ray_token_file: str,
    key_file: str | None = None,
    streams: tuple[str, ...] = (),
    every: str = "15s",
) -> dict[str, Any]:
    """prometheus.yml: the service at `url`, the nodes that Ray's dashboard at `ray_url` names, stream consumers (host:port).

    `key_file` holds an API key, where the service asks for one.
    """
    service, ray = urlsplit(url), urlsplit(ray_url)
    jobs: list[dict[str, Any]] = [
        {
            "job_name": JOB,
            "scheme": service.scheme,
            "static_configs": [{"targets": [service.netloc]}],
        },
        {
            "job_name": _RAY_JOB,
            "http_sd_configs": [
                {
                    "url": f"{ray.scheme}://{ray.netloc}/api/prometheus/sd",
                    "refresh_interval": "10s",
                    "authorization": {"type": "Bearer", "credentials_file": ray_token_file},
                }
            ],
        },
    ]
    if key_file:
        jobs[0]["authorization"] = {"type": "Bearer", "credentials_file": key_file}
    if streams:
        jobs.append({"job_name": _STREAM_JOB, "static_configs": [{"targets": list(streams)}]})
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": ["rules.yml"],
        "scrape_configs": jobs,
    }
