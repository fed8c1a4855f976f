"""An MLflow server of one machine: `python -m train.registry.mlflow_process PORT STORE ARTIFACTS`.

`mlflow server` imports all of MLflow, starts its workers as children that import it again, and
stays beside them with what it has imported (200 MB). Here the one worker is the process itself.
"""

from __future__ import annotations

import copy
import os
import sys
from typing import Any


def serve_mlflow(
    port: int,
    database: str,
    artifacts: str,
) -> None:
    """Serve the store at the URL `database` on 127.0.0.1 until SIGTERM.

    `artifacts` is the URL of the folder below which experiments keep their files; clients read and
    write there themselves.
    """
    # First: where uvicorn has been imported, MLflow knows that it is a server, and refuses requests
    # by other names than this machine's own.
    import uvicorn
    from mlflow.server import constants, handlers
    from uvicorn.config import LOGGING_CONFIG

    # MLflow's server finds its store by these; its own command sets them for its workers, too.
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = database
    os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = database
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = artifacts
    handlers.initialize_backend_stores(database, database, artifacts)
    uvicorn.run(
        "mlflow.server.fastapi_app:app",
        host="127.0.0.1",
        port=port,
        log_config=_with_times(LOGGING_CONFIG),
    )


def _with_times(logging_config: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(logging_config)
    for formatter in changed["formatters"].values():
        formatter["fmt"] = f"%(asctime)s {formatter['fmt']}"
    return changed


if __name__ == "__main__":
    _, given_port, given_database, given_artifacts = sys.argv
    serve_mlflow(int(given_port), given_database, given_artifacts)
