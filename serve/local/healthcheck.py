"""The container image's HEALTHCHECK: asks whatever runs in this container whether it is well.

`python -m serve.healthcheck` exits with 0 when it is, or when nothing runs that could be asked:
a training, or a `vigil stream`, ends with its process. Kubernetes has probes of its own.
"""

from __future__ import annotations

import sys

from vigil import http
from vigil.home import Home
from vigil.settings import HomeSettings

RAYLET = "http://127.0.0.1:52365/api/local_raylet_healthz"  # where `ray start` has its agent
TIMEOUT_S = 5.0


def trouble(home: Home, raylet: str = RAYLET) -> str | None:
    """What is wrong with the platform of `home`, else with the raylet that answers at `raylet`."""
    platform = home.platform()
    url = raylet if platform is None else f"{platform.url}/healthz"
    try:
        with http.open_response("GET", url, timeout_s=TIMEOUT_S, follow_redirects=True) as response:
            http.check_status(response)
    except ConnectionRefusedError as error:
        return None if platform is None else f"{url}: {error}"
    except OSError as error:
        return f"{url}: {error}"
    return None


def main() -> int:
    """Print what is wrong; 1 when something is."""
    found = trouble(HomeSettings().open())
    if found is not None:
        sys.stdout.write(f"{found}\n")
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
