"""MLflow's REST API, as far as Vigil asks it: `MlflowClient` without the library behind it.

To import MLflow takes 1.3 s of CPU and 85 MB in every replica, in the monitor and in every command
that looks at the registry. Its methods have the names, arguments and results of `MlflowClient`
(https://mlflow.org/docs/latest/api_reference/rest-api.html).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit
from urllib.request import url2pathname

from train.registry.entities import (
    ArtifactFile,
    Experiment,
    MlflowModel,
    MlflowRefusal,
    ModelVersion,
    Run,
    SearchPage,
)
from train.registry.rest_answers import (
    read_artifact_file,
    read_model_version,
    read_registered_model,
    read_run,
)
from vigil.http import open_response, os_errors, request
from vigil.json_types import JsonObject

if TYPE_CHECKING:
    import httpx

REST_TIMEOUT_S = 10.0
ATTEMPTS = 3  # of a question; whoever polls asks again anyway
RETRY_S = 0.2
UNAVAILABLE = "INTERNAL_ERROR"  # MLflow's own word for a server that is away or broken
_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_PROXIED = "mlflow-artifacts"  # scheme of artifacts that the server hands out itself
_BINARY = {"Content-Type": "application/octet-stream"}
_MAX_TEXT = 300


class RestClient:
    """The server at `tracking_uri`. Its methods raise MlflowRefusal, those of artifacts OSError."""

    def __init__(self, tracking_uri: str, timeout_s: float = REST_TIMEOUT_S) -> None:
        self._url = tracking_uri.rstrip("/")
        self._timeout_s = timeout_s

    # Registered models.

    def get_registered_model(self, name: str) -> MlflowModel:
        answer = self._get("registered-models/get", {"name": name})
        return read_registered_model(answer["registered_model"])

    def create_registered_model(
        self,
        name: str,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> None:
        order = {"name": name, "tags": _entries(tags), "description": description}
        self._post("registered-models/create", order)

    def delete_registered_model(self, name: str) -> None:
        self._send("DELETE", "registered-models/delete", {"name": name})

    def set_registered_model_alias(
        self,
        name: str,
        alias: str,
        version: str,
    ) -> None:
        order = {"name": name, "alias": alias, "version": version}
        self._post("registered-models/alias", order)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._send("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        order = {"name": name, "key": key, "value": value}
        self._post("registered-models/set-tag", order)

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self._send("DELETE", "registered-models/delete-tag", {"name": name, "key": key})

    # Their versions.

    def get_model_version(self, name: str, version: str) -> ModelVersion:
        answer = self._get("model-versions/get", {"name": name, "version": version})
        return read_model_version(answer["model_version"])

    def search_model_versions(
        self,
        filter_string: str,
        max_results: int | None = None,
        order_by: Sequence[str] = (),
    ) -> list[ModelVersion]:
        """Return all that meet the filter, or the first `max_results`."""
        found: list[ModelVersion] = []
        query: dict[str, Any] = {"filter": filter_string, "order_by": order_by}
        if max_results is not None:
            query["max_results"] = max_results
        while True:
            answer = self._get("model-versions/search", query)
            found += map(read_model_version, answer.get("model_versions", []))
            query["page_token"] = answer.get("next_page_token")
            if max_results is not None or not query["page_token"]:
                return found

    def create_model_version(
        self,
        name: str,
        source: str,
        *,
        run_id: str,
        tags: Mapping[str, str],
        model_id: str,
        description: str,
    ) -> ModelVersion:
        order = {
            "name": name,
            "source": source,
            "run_id": run_id,
            "tags": _entries(tags),
            "model_id": model_id,
            "description": description,
        }
        return read_model_version(self._post("model-versions/create", order)["model_version"])

    # Experiments and runs.

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        try:
            answer = self._get("experiments/get-by-name", {"experiment_name": name})
        except MlflowRefusal as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return Experiment(answer["experiment"]["experiment_id"])

    def create_experiment(self, name: str, artifact_location: str | None = None) -> str:
        order = {"name": name, "artifact_location": artifact_location}
        return self._post("experiments/create", _given(order))["experiment_id"]

    def create_run(
        self,
        experiment_id: str,
        run_name: str,
        tags: Mapping[str, str],
    ) -> Run:
        order = {
            "experiment_id": experiment_id,
            "run_name": run_name,
            "start_time": _now_ms(),
            "tags": _entries(tags),
        }
        return read_run(self._post("runs/create", order)["run"])

    def get_run(self, run_id: str) -> Run:
        return read_run(self._get("runs/get", {"run_id": run_id})["run"])

    def log_metric(self, run_id: str, key: str, value: float) -> None:
        order = {"run_id": run_id, "key": key, "value": value, "timestamp": _now_ms()}
        self._post("runs/log-metric", order)

    def set_terminated(self, run_id: str, status: str = "FINISHED") -> None:
        order = {"run_id": run_id, "status": status, "end_time": _now_ms()}
        self._post("runs/update", order)

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str,
        *,
        max_results: int,
        order_by: Sequence[str],
        page_token: str | None = None,
    ) -> SearchPage:
        order = {
            "experiment_ids": list(experiment_ids),
            "filter": filter_string,
            "max_results": max_results,
            "order_by": list(order_by),
            "page_token": page_token,
        }
        answer = self._ask("POST", f"{_API}/runs/search", content=_encode(_given(order)))
        runs = [read_run(run) for run in answer.get("runs", [])]
        return SearchPage(runs, answer.get("next_page_token", ""))

    # Artifacts.

    def list_artifacts(self, run_id: str, path: str) -> list[ArtifactFile]:
        answer = self._get("artifacts/list", {"run_id": run_id, "path": path})
        return [read_artifact_file(file) for file in answer.get("files", [])]

    def download_artifacts(self, run_id: str, path: str, dst_path: str) -> str:
        """Copy a file, or a folder with all that is in it; returns where the copy is."""
        root = urlsplit(self.get_run(run_id).info.artifact_uri)
        target = Path(dst_path) / path
        if _is_proxied(root):
            self._download(run_id, root.path.strip("/"), path, Path(dst_path))
        elif _is_local(root):
            _copy(Path(url2pathname(root.path)) / path, target)
        else:
            return self._library_client().download_artifacts(run_id, path, dst_path)
        return str(target)

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        """Keep a text as an artifact of the run."""
        root = urlsplit(self.get_run(run_id).info.artifact_uri)
        if _is_proxied(root):
            self._upload(f"{root.path.strip('/')}/{artifact_file}", text.encode())
        elif _is_local(root):
            file = Path(url2pathname(root.path)) / artifact_file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        else:
            self._library_client().log_text(run_id, text, artifact_file)

    def _upload(self, path: str, content: bytes) -> None:
        response = self._exchange(
            "PUT",
            f"{_ARTIFACTS}/{quote(path)}",
            headers=_BINARY,
            content=content,
        )
        _require_file(response, path)

    def _download(
        self,
        run_id: str,
        root: str,
        path: str,
        folder: Path,
    ) -> None:
        require_inside(path)
        files = self.list_artifacts(run_id, path)
        for file in files:
            self._download(run_id, root, file.path, folder)
        if not files:
            self._download_file(f"{root}/{path}", folder / path)

    def _download_file(self, path: str, file: Path) -> None:
        url = f"{self._url}{_ARTIFACTS}/{quote(path)}"
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            open_response("GET", url, timeout_s=self._timeout_s, headers=_login()) as response,
            os_errors(),
        ):
            _require_file(response, path)
            with file.open("wb") as written:
                for chunk in response.iter_bytes():
                    written.write(chunk)

    def _library_client(self) -> Any:
        """For artifacts in a store that the server does not hand out itself, such as S3."""
        from mlflow import MlflowClient

        return MlflowClient(self._url)

    # Requests.

    def _get(self, path: str, query: Mapping[str, Any]) -> JsonObject:
        text = urlencode(_given(query), doseq=True)
        return self._ask("GET", f"{_API}/{path}?{text}")

    def _post(self, path: str, order: Mapping[str, Any]) -> JsonObject:
        return self._send("POST", path, order)

    def _send(self, method: str, path: str, order: Mapping[str, Any]) -> JsonObject:
        return self._ask(method, f"{_API}/{path}", content=_encode(order))

    def _ask(self, method: str, path: str, content: bytes | None = None) -> JsonObject:
        headers = {"Content-Type": "application/json"}
        try:
            response = self._exchange(method, path, headers=headers, content=content)
        except OSError as error:
            raise MlflowRefusal(UNAVAILABLE, str(error)) from error
        if response.is_success:
            return _decode(response)
        raise _refusal(response)

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """The answer; a question is asked again where there was none, an order is not."""
        attempts = ATTEMPTS if method == "GET" else 1
        for left in reversed(range(attempts)):
            try:
                response = request(
                    method,
                    f"{self._url}{path}",
                    timeout_s=self._timeout_s,
                    headers={**(headers or {}), **_login()},
                    content=content,
                )
            except OSError:
                if not left:
                    raise
            else:
                if not left or not response.is_server_error:
                    return response
            time.sleep(RETRY_S)
        raise AssertionError("the last attempt returns or raises")


def _login() -> dict[str, str]:
    """The header that shows who asks; MLflow's own variables name him."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user is None or password is None:
        return {}
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _refusal(response: httpx.Response) -> MlflowRefusal:
    try:
        answer = response.json()
        return MlflowRefusal(answer["error_code"], answer.get("message", ""))
    except (ValueError, LookupError, TypeError):
        code = UNAVAILABLE if response.is_server_error else "BAD_REQUEST"
        text = response.text[:_MAX_TEXT]
        return MlflowRefusal(code, f"{response.status_code} {response.reason_phrase}: {text}")


def _decode(response: httpx.Response) -> JsonObject:
    try:
        return response.json()
    except ValueError as error:
        raise MlflowRefusal(UNAVAILABLE, f"no JSON: {response.text[:_MAX_TEXT]}") from error


def _is_proxied(root: SplitResult) -> bool:
    return root.scheme == _PROXIED and not root.netloc


def _is_local(root: SplitResult) -> bool:
    return root.scheme in ("", "file") and not root.netloc


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def require_inside(path: str) -> None:
    """Raise OSError for a path by which a server would have files written elsewhere."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\\" in path:
        raise OSError(f"the server names an artifact {path!r}")


def _require_file(response: httpx.Response, path: str) -> None:
    """Raise OSError where the server has not handed out the file, or not taken it."""
    if not response.is_success:
        raise OSError(f"{path}: {response.status_code} {response.reason_phrase}")


def _encode(order: Mapping[str, Any]) -> bytes:
    return json.dumps(order).encode()


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, (), [])}


def _now_ms() -> int:
    return int(time.time() * 1000)


def _entries(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in (tags or {}).items()]
