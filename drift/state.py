"""Where the monitor keeps its state, under a lease.

Of several monitors with one state, one acts and the others stand by.

On one machine, or a shared folder, the lease is a locked file; in S3 it is an object that only its
holder can replace.
"""

from __future__ import annotations

import contextlib
import json
import math
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from vigil.aws import AwsError, aws_client, aws_errors
from vigil.errors import VigilError
from vigil.home import write_json
from vigil.json_types import JsonObject
from vigil.locks import HeldLock, try_lock
from vigil.steady import steady_seconds

_DOCUMENT = "monitor.json"
LEASE_S = 15.0
ANSWER_S = 5.0  # of S3: twice that, with a second attempt, is within the lease
_MISSING = ("NoSuchKey", "404")
_REPLACED = (404, 409, 412)  # statuses of a conditional put whose object is another


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

    def save(self, document: JsonObject) -> None:
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
            self._lock = self._try_lock()
        return self._lock is not None

    def _try_lock(self) -> HeldLock | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        return try_lock(self._folder / "monitor.lock")

    def load(self) -> Any:
        path = self._folder / _DOCUMENT
        return json.loads(path.read_text()) if path.exists() else None

    def save(self, document: JsonObject) -> None:
        if self._lock is None:
            raise LostLease("this monitor does not hold the state")
        write_json(self._folder / _DOCUMENT, document)

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


@dataclass(frozen=True)
class _LeasedDocument:
    """The object in S3: the monitor's state, and who holds it; empty when it was let go.

    written: differs from put to put, so that each of them has a tag of its own
    """

    holder: str
    state: Any
    written: str

    @classmethod
    def decode(cls, body: bytes) -> _LeasedDocument:
        document = json.loads(body)
        holder = str(document.get("holder") or "")
        return cls(holder, document.get("state"), str(document.get("written")))

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class _SeenDocument:
    """What an S3 object held when it was read, with the tag of that; both None without one."""

    document: _LeasedDocument | None = None
    etag: str | None = None

    @property
    def state(self) -> Any:
        return self.document.state if self.document else None

    def belongs_to_another(self, holder: str) -> bool:
        """Whether another one than this holder has it, and has not let it go."""
        return self.document is not None and self.document.holder not in ("", holder)


@dataclass(frozen=True)
class _Sighting:
    """The tag of another monitor's object, and since when (our seconds) it is this one."""

    etag: str | None
    since: float


class S3State:
    """In the object `monitor.json` under an S3 URL.

    Each put is conditional on the object that was seen last.

    No clock is compared with another: a lease is free when its object has been the same for
    LEASE_S by our own `seconds`, which never jump. Who stops for longer loses it: its next put
    finds another object, and fails.
    """

    def __init__(
        self,
        url: str,
        client: Any = None,
        seconds: Callable[[], float] = steady_seconds,
    ) -> None:
        parts = urlsplit(url)
        folder = parts.path.strip("/")
        self._bucket = parts.netloc
        self._key = f"{folder}/{_DOCUMENT}".lstrip("/")
        self._client = client
        self._seconds = seconds
        self._me = uuid.uuid4().hex
        self._etag: str | None = None  # of the object that is ours
        self._until = -math.inf
        self._sighting: _Sighting | None = None
        self._document: Any = None

    def acquire_lease(self) -> bool:
        if self._etag is None:
            return self._take_over()
        return self._is_fresh or self._try_put(self._etag)

    @property
    def _is_fresh(self) -> bool:
        """Whether two thirds of the lease are left at least."""
        renew_at = self._until - 2 * LEASE_S / 3
        return self._seconds() < renew_at

    def _take_over(self) -> bool:
        seen = self._get()
        if seen.belongs_to_another(self._me) and not self._is_still(seen.etag):
            return False
        self._document = seen.state
        return self._try_put(seen.etag)

    def _is_still(self, etag: str | None) -> bool:
        """Whether the object has been the same for the length of a lease."""
        now = self._seconds()
        sighting = self._sighting
        if sighting is None or sighting.etag != etag:
            sighting = _Sighting(etag, since=now)
            self._sighting = sighting
        return now > sighting.since + LEASE_S

    def load(self) -> Any:
        return self._document

    def save(self, document: JsonObject) -> None:
        if self._etag is None:
            raise LostLease("this monitor does not hold the state")
        self._document = document
        self._put(self._etag)

    def release(self) -> None:
        if self._etag is None:
            return
        with contextlib.suppress(LostLease, OSError):
            self._put(self._etag, holder="")
        self._etag = None

    def _get(self) -> _SeenDocument:
        try:
            with aws_errors(self._place):
                answer = self._s3().get_object(**self._object)
                document = _LeasedDocument.decode(answer["Body"].read())
                return _SeenDocument(document, answer["ETag"])
        except AwsError as error:
            if error.code in _MISSING:
                return _SeenDocument()
            raise

    def _try_put(self, etag: str | None) -> bool:
        """Whether the object still had this `etag`: else another monitor was faster."""
        try:
            self._put(etag)
        except LostLease:
            return False
        return True

    def _put(self, etag: str | None, holder: str | None = None) -> None:
        """Replace the object that has this `etag`; None: there is none."""
        until = self._seconds() + LEASE_S
        owner = self._me if holder is None else holder
        document = _LeasedDocument(owner, self._document, written=uuid.uuid4().hex)
        try:
            self._etag = self._put_if(etag, document.encode())
        except AwsError as error:
            if error.status not in _REPLACED:
                raise
            self._etag = None
            raise LostLease("another monitor has taken the state over") from error
        self._until = until

    def _put_if(self, etag: str | None, body: bytes) -> str:
        """Put the object where the present one has this `etag`; return the new one's."""
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        with aws_errors(self._place):
            client = self._s3()
            answer = client.put_object(**self._object, Body=body, **condition)
        return answer["ETag"]

    @property
    def _object(self) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._key}

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
