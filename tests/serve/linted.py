"""Prometheus' own linter over an exposition."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics import MetricWrapperBase


def lint(text: bytes) -> str:
    """What `promtool check metrics` finds; nothing is an empty string."""
    if shutil.which("promtool") is None:
        assert "CI" not in os.environ, "promtool is missing: install Debian's package prometheus"
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
    )
    return (done.stdout + done.stderr).decode() + (
        "" if done.returncode == 0 else f"exit {done.returncode}"
    )


def populate(registry: CollectorRegistry, labels: Iterable[str] = ("a",)) -> None:
    """Give every metric of a registry a value, one by each of `labels` where it has labels."""
    for metric in list(registry._collector_to_names):
        if not isinstance(metric, MetricWrapperBase):
            continue
        names = metric._labelnames
        for child in [metric.labels(*[one] * len(names)) for one in labels] if names else [metric]:
            if isinstance(child, Histogram):
                child.observe(0.3)
            else:
                child.inc()  # type: ignore[attr-defined]
