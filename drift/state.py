"""Where the monitor keeps its state, under a lease.

Of several monitors with one state, one acts and the others stand by.

On one machine, or a shared folder, the lease is a locked file; in S3 it is an object that only its
holder can replace.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from vigil.aws import AwsError, aws_client, aws_errors
from vigil.errors import VigilError
from vigil.home import write_json
from vigil.locks import HeldLock, try_lock

_DOCUMENT = "monitor.json"
LEASE_S = 15.0
ANSWER_S = 5.0  # of S3: twice that, with a second attempt, is within the lease


class LostLease(VigilError):
    """Another monitor has the state now."""

    status = 409


class StateStore(Protocol):
    """One JSON document."""

    def acquire_lease(self) -> bool:
        """Become, or stay, the one monitor; call it several times within LEASE_S.

        Raises OSError when it cannot be known.
        """
        ...

    def load(self) -> Any:
        """The document, None before the first; raises ValueError when it cannot be read."""
        ...

    def save(self, document: dict[str, Any]) -> None:
        """Replace the document in one step.

        Raises LostLease, or OSError when it cannot be written now.
        """
        ...

    def release(self) -> None:
        """Let another monitor have it."""
        ...


class FileState:
    """In a folder. The lock ends with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: HeldLock | None = None

    def acquire_lease(self) -> bool:
        if self._lock is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = try_lock(self._folder / "monitor.lock")
        return self._lock is not None

    def load(self) -> Any:
        path = self._folder / _DOCUMENT
        return json.loads(path.read_text()) if path.exists() else None

    def save(self, document: dict[str, Any]) -> None:
        if self._lock is None:
            raise LostLease("this monitor does not hold the state")
        write_json(self._folder / _DOCUMENT, document)

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class S3State:
    """In the object `monitor.json` under an S3 URL.

    Each put is conditional on the object that was seen last.

    Who stops for longer than LEASE_S loses it: its next put finds another object, and fails.
    """

    def __init__(self, url: str, client: Any = None) -> None:
        parts = urlsplit(url)
        self._bucket = parts.netloc
        self._key = f"{parts.path.strip('/')}/{_DOCUMENT}".lstrip("/")
        self._client = client
        self._me = uuid.uuid4().hex
        self._etag: str | None = None  # of the object that is ours
        self._until = 0.0
        self._document: Any = None

    def acquire_lease(self) -> bool:
        now = time.time()
        if self._etag is not None and now < self._until - 2 * LEASE_S / 3:
            return True
        if self._etag is not None:
            try:
                self._put(self._etag)
            except LostLease:
                return False
            return True
        seen, etag = self._get()
        if (
            seen is not None
            and seen.get("holder") != self._me
            and float(seen.get("until", 0)) > now
        ):
            return False
        self._document = seen.get("state") if seen else None
        try:
            self._put(etag)
        except LostLease:  # another was faster
            return False
        return True

    def load(self) -> Any:
        return self._document

    def save(self, document: dict[str, Any]) -> None:
        if self._etag is None:
            raise LostLease("this monitor does not hold the state")
        self._document = document
        self._put(self._etag)

    def release(self) -> None:
        if self._etag is not None:
            try:
                self._put(self._etag, lease_s=0.0)
            except (LostLease, OSError):
                pass
            self._etag = None

    def _get(self) -> tuple[dict[str, Any] | None, str | None]:
        try:
            with aws_errors(self._place):
                answer = self._s3().get_object(Bucket=self._bucket, Key=self._key)
                return json.loads(answer["Body"].read()), answer["ETag"]
        except AwsError as error:
            if error.code in ("NoSuchKey", "404"):
                return None, None
            raise

    def _put(self, etag: str | None, lease_s: float = LEASE_S) -> None:
        """Replace the object that has this `etag`; None: there is none."""
        until = time.time() + lease_s
        body = json.dumps({"holder": self._me, "until": until, "state": self._document}).encode()
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        try:
            with aws_errors(self._place):
                answer = self._s3().put_object(
                    Bucket=self._bucket, Key=self._key, Body=body, **condition
                )
        except AwsError as error:
            if error.status in (404, 409, 412):
                self._etag = None
                raise LostLease("another monitor has taken the state over") from error
            raise
        self._etag = answer["ETag"]
        self._until = until

    @property
    def _place(self) -> str:
        return f"s3://{self._bucket}/{self._key}"

    def _s3(self) -> Any:
        if self._client is None:
            # Who hears nothing within the lease has lost it, and all who report wait meanwhile.
            self._client = aws_client("s3", timeout_s=ANSWER_S, max_attempts=2)
        return self._client


def open_state_store(url: str, folder: Path) -> StateStore:
    """The state at an `s3://` URL, or in `folder` when there is none."""
    return S3State(url) if url else FileState(folder)
