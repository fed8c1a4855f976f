"""Where local state lives (`VIGIL_HOME`, default `.vigil`), with the record of the platform.

The platform is the one that runs there.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vigil.errors import PlatformError
from vigil.process_birth import process_birth
from vigil.service import Service

_IS_PLAIN = re.compile(r"[^?%\x00-\x1f\x7f]*")


def write_json(path: Path, value: Any) -> None:
    """Replace `path` with `value` as JSON in one step, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.replace(path)


@contextmanager
def explain_write_errors(root: Path) -> Generator[None]:
    """Raises PlatformError, which says what helps, where the block cannot write to `root`."""
    try:
        yield
    except OSError as error:
        raise PlatformError(
            f"cannot write to {root}: {error.strerror}. VIGIL_HOME names another folder; "
            f"in a container mount a volume there that user {os.getuid()} may write"
        ) from error


def use_ray_token(home: Home) -> Path:
    """Have this process and its children use the Ray token of `home`.

    It is made on first use, readable by its owner only.

    Call it before `ray` is first imported: Ray reads its authentication mode then.
    Raises PlatformError where nothing can be written.
    """
    path = home.state / "ray-token"
    if not path.exists():
        with explain_write_errors(home.root):
            _make_token(path)
    if "RAY_AUTH_TOKEN" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return path


def _make_token(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(secrets.token_hex(32))
    temporary.replace(path)


def sqlite_uri(file: Path) -> str:
    """The URI by which SQLAlchemy and MLflow open the absolute path `file`.

    A query begins at `?`, and `%` quotes. Of a path that has one of them slashes are quoted too:
    MLflow makes the folder of the path as it stands in the URI, and would leave an empty one.
    """
    path = str(file)
    if _IS_PLAIN.fullmatch(path):
        return f"sqlite:///{path}"
    return f"sqlite:///{quote(path, safe='')}"


@dataclass(frozen=True)
class RunningPlatform:
    """What another process needs to know to use the running platform; written by `vigil up`."""

    id: str
    pid: int
    birth: str  # of the process `pid`: a recycled pid does not count
    url: str
    ray_address: str
    dashboard_url: str
    tracking_uri: str
    token_path: str
    key_path: str | None = (
        None  # of the API key that this platform's own commands use, where the service asks for one
    )
    grpc: str | None = None  # address for gRPC, where that is on

    @property
    def service(self) -> Service:
        """Its service, with the key of this platform's own commands."""
        return Service(
            self.url, Path(self.key_path).read_text("utf-8").strip() if self.key_path else None
        )

    @property
    def headers(self) -> dict[str, str]:
        """What a request to the service must carry."""
        return self.service.headers


@dataclass(frozen=True)
class Home:
    """The folders of one local installation."""

    root: Path

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def captured(self) -> Path:
        return self.root / "captured"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def record(self) -> Path:
        return self.state / "platform.json"

    @property
    def database_uri(self) -> str:
        return sqlite_uri(self.root / "mlflow.db")

    def create(self) -> Home:
        """Make the folders; return self. Raises PlatformError where they cannot be made."""
        with explain_write_errors(self.root):
            for folder in (self.artifacts, self.cache, self.captured, self.logs, self.state):
                folder.mkdir(parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return self

    def write_platform(self, platform: RunningPlatform) -> None:
        write_json(self.record, asdict(platform))

    def platform(self) -> RunningPlatform | None:
        """The platform whose process is alive, or None."""
        try:
            platform = RunningPlatform(**json.loads(self.record.read_text("utf-8")))
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, TypeError):
            return None
        is_alive = process_birth(platform.pid) == platform.birth
        return platform if is_alive else None
