"""Progress of a job in the log that Ray keeps of it: written by the job, read by who submitted it.

The log has lines of Ray, of libraries and of the job. Those of its progress begin with a marker;
a JSON object follows.
"""

from __future__ import annotations

import os
import time

import click
import msgspec

from vigil.terminal import PART_S

NICENESS = 19  # training takes the CPUs that replicas leave: theirs is 15, a job's own is 0
FOLLOWED_VARIABLE = "VIGIL_FOLLOWED"  # set for a job whose submitter reads its log
_MARKER = "vigil-progress "


class ProgressLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step that is done, or how much of the present one is: `share` of 1."""

    message: str
    share: float | None = None

    def encode(self) -> str:
        """Return the line of the log."""
        return _MARKER + msgspec.json.encode(self).decode()


def decode_line(line: str) -> ProgressLine | None:
    """Return the progress that a line of a log tells; None for any other line."""
    if not line.startswith(_MARKER):
        return None
    try:
        return msgspec.json.decode(line.removeprefix(_MARKER), type=ProgressLine)
    except msgspec.DecodeError:
        return None


def inside_job() -> bool:
    """Return whether this process is the driver of a Ray job that was submitted."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def is_followed() -> bool:
    """Return whether whoever submitted this job reads marked lines; else people read its log."""
    return FOLLOWED_VARIABLE in os.environ


class JobLog:
    """A listener that writes progress into the log of the job; parts every `part_interval_s`."""

    def __init__(self, part_interval_s: float = PART_S) -> None:
        self._part_interval_s = part_interval_s
        self._written = time.monotonic()

    def __call__(self, message: str) -> None:
        self._write(ProgressLine(message))

    def part(
        self,
        message: str,
        share: float,
    ) -> None:
        if time.monotonic() - self._written > self._part_interval_s:
            self._write(ProgressLine(message, share))

    def _write(self, line: ProgressLine) -> None:
        click.echo(line.encode(), err=True)
        self._written = time.monotonic()
