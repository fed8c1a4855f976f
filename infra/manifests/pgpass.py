"""Keeps libpq's password file fresh.

RDS rotates the password, and libpq reads this file at every new connection.
Mounted into the MLflow pod and run beside it. Imports nothing of Vigil.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import boto3

PERIOD_S = 30


def line(host: str, secret: str) -> str:
    """One line of a password file; libpq wants `:` and `\\` escaped."""
    found = json.loads(secret)
    user, password = (
        str(found[key]).replace("\\", "\\\\").replace(":", "\\:")
        for key in ("username", "password")
    )
    return f"{host}:5432:*:{user}:{password}\n"


def refresh(
    path: Path,
    host: str,
    secret_arn: str,
) -> None:
    """Write the present password, readable by its owner only, in one step."""
    client = boto3.client("secretsmanager")
    text = line(host, client.get_secret_value(SecretId=secret_arn)["SecretString"])
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)


def main() -> None:
    """Once with the argument `once`, else for ever; a failure leaves the last password in place."""
    target = (
        Path(os.environ["PGPASSFILE"]),
        os.environ["DATABASE_HOST"],
        os.environ["DATABASE_SECRET"],
    )
    if sys.argv[1:] == ["once"]:
        refresh(*target)
        return
    while True:
        time.sleep(PERIOD_S)
        try:
            refresh(*target)
        except Exception as error:
            print(f"the password is not refreshed: {error}", flush=True)  # noqa: T201  # the pod's log


if __name__ == "__main__":
    main()
