"""The container image's HEALTHCHECK: asks whatever runs in this container whether it is well.

`python -m serve.local.healthcheck` exits with 0 when it is, or when nothing runs that could be
asked: a training, or a `vigil stream`, ends with its process. Kubernetes has probes of its own.
"""

from __future__ import annotations

import sys

from vigil import http
from vigil.home import Home
from vigil.settings import HomeSettings

RAYLET_HEALTH_URL = (
    "http://127.0.0.1:52365/api/local_raylet_healthz"  # where `ray start` has its agent
)
_TIMEOUT_S = 5.0


def find_trouble(home: Home, raylet: str = RAYLET_HEALTH_URL) -> str | None:
    """What is wrong with the platform of `home`, else with the raylet that answers at `raylet`."""
    platform = home.platform()
    url = raylet if platform is None else f"{platform.url}/healthz"
    try:
        with http.open_response(
            "GET",
            url,
            timeout_s=_TIMEOUT_S,
            follow_redirects=True,
        ) as response:
            http.check_status(response)
    except ConnectionRefusedError as error:
        if platform is None:
            return None
        return f"{url}: {error}"
    except OSError as error:
        return f"{url}: {error}"
    return None


def main() -> int:
    """Print what is wrong; 1 when something is."""
    trouble = find_trouble(HomeSettings().open())
    if trouble is None:
        return 0
    sys.stdout.write(f"{trouble}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
