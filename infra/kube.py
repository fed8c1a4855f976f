"""A Kubernetes cluster, read over its API: plain objects, deadlines, errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import yaml

from infra.kubeconfig import ApiObject, ClusterError, Kubeconfig, find_kubeconfig
from vigil.deadline import call_with_timeout

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

API_TIMEOUT_S = 10.0
MAX_LOG_BYTES = 16_384


class ClusterUnreachable(ClusterError):
    """The API server does not answer."""


class NotLoggedIn(ClusterError):
    """The API server knows nobody by these credentials, or there are none to be had."""


class NotAllowed(ClusterError):
    """The API server knows who asks, and refuses."""

    status = 403


@dataclass(frozen=True)
class ApiResponse:
    """What came back: an HTTP status, and the body as text."""

    status: int
    body: str

    def json(self) -> Any:
        """The body as JSON; an empty object where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


class ClusterClient:
    """Reads one cluster. Every call ends within `timeout_s`, or raises a ClusterError."""

    def __init__(
        self,
        client: ApiClient,
        where: str,
        timeout_s: float = API_TIMEOUT_S,
    ) -> None:
        self._client = client
        self.where = where
        self.server: str = client.configuration.host
        self.timeout_s = timeout_s

    def ask(
        self,
        path: str,
        query: Mapping[str, str | int] | None = None,
        timeout_s: float | None = None,
    ) -> ApiResponse:
        """GET of a path of the API server, whatever the status.

        Raises ClusterUnreachable, NotLoggedIn.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        response = self._send(target, timeout_s or self.timeout_s)
        if response.status == 401:
            raise NotLoggedIn(
                f"the API server {self.server} does not know who asks ({self.where}):"
                " log in again, or fetch the kubeconfig anew"
            )
        return response

    def _send(self, target: str, timeout_s: float) -> ApiResponse:
        from urllib3.exceptions import HTTPError, SSLError

        call = self._request_of(target)
        try:
            response = self._client.call_api(*call, _request_timeout=timeout_s)
            body = response.read() or b""
        except SSLError as error:
            raise self._unreachable(f"its certificate is refused: {error}") from error
        except (HTTPError, OSError) as error:
            raise self._unreachable(_last_cause(error)) from error
        return ApiResponse(response.status, body.decode(errors="replace"))

    def _request_of(self, target: str) -> tuple[Any, ...]:
        headers = {"Accept": "*/*"}
        serialize = self._client.param_serialize
        return serialize(
            "GET",
            target,
            header_params=headers,
            auth_settings=["BearerToken"],
        )

    def _unreachable(self, why: str) -> ClusterUnreachable:
        return ClusterUnreachable(
            f"the API server {self.server} ({self.where}) does not answer: {why}."
            " Is the cluster running, and this machine in its network?"
        )

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> ApiObject | None:
        """The object at a path; None where there is none, or no such kind. Raises NotAllowed."""
        answer = self.ask(path, query)
        if answer.status == 404:
            return None
        if answer.status >= 400:
            raise _refusal(path, answer)
        return answer.json()

    def list(
        self,
        path: str,
        labels: str = "",
        limit: int = 500,
    ) -> list[ApiObject]:
        """The objects of a collection, at most `limit`; none where the kind is unknown."""
        collection = self.get(path, _list_query(labels, limit)) or {}
        return list(collection.get("items") or [])

    def log(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        previous: bool,
        lines: int,
    ) -> str:
        """The end of a container's log; empty where there is none."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = {
            "container": container,
            "tailLines": lines,
            "limitBytes": MAX_LOG_BYTES,
        }
        if previous:
            query["previous"] = "true"
        answer = self.ask(path, query)
        return answer.body if answer.status == 200 else ""

    def close(self) -> None:
        """Let go of its connections."""
        self._client.rest_client.pool_manager.clear()


class AllowedReader:
    """Reads a cluster as far as that is allowed; `unread` says what was refused."""

    def __init__(self, cluster: ClusterClient) -> None:
        self._cluster = cluster
        self.unread: list[str] = []

    def get(self, path: str) -> ApiObject | None:
        """The object at a path; None where it may not be read either."""
        with self._refusals_noted(""):
            return self._cluster.get(path)
        return None

    def list(
        self,
        path: str,
        labels: str = "",
        *,
        kind: str = "",
    ) -> list[ApiObject] | None:
        """The objects of a collection; None where they may not be read."""
        with self._refusals_noted(f"{kind}: " if kind else ""):
            return self._cluster.list(path, labels)
        return None

    @contextmanager
    def _refusals_noted(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ClusterUnreachable, NotLoggedIn):
            raise
        except ClusterError as error:
            self.unread.append(f"{what}{error.message}")


def _list_query(labels: str, limit: int) -> dict[str, str | int]:
    query: dict[str, str | int] = {"limit": limit}
    if labels:
        query["labelSelector"] = labels
    return query


def _refusal(path: str, answer: ApiResponse) -> ClusterError:
    message = answer.json().get("message")
    if answer.status == 403:
        return NotAllowed(message or f"GET {path} is refused")
    said = message or answer.body[:200]
    return ClusterError(f"GET {path}: the API server answers {answer.status}: {said}")


def _last_cause(error: BaseException) -> str:
    """The last cause: urllib3 wraps each in a sentence about its pool."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return _last_cause(inner)
    return str(error).rsplit("Failed to establish a new connection: ", 1)[-1]


# --- logging in ---


def connect(
    kubeconfig: str | None = None, context: str | None = None, timeout_s: float = API_TIMEOUT_S
) -> ClusterClient:
    """A client of the cluster that `find_kubeconfig` names.

    Nothing is asked of the API server yet; a program that gets credentials (EKS) is run, within
    `timeout_s`. Raises NoKubeconfig, UnknownContext, NotLoggedIn.
    """
    chosen = find_kubeconfig(kubeconfig, context)
    where = str(chosen) if chosen else "the pod's own account"
    try:
        client = call_with_timeout(timeout_s, lambda: _log_in(chosen, where))
    except TimeoutError as error:
        late = f"{where}: the program that gets its credentials has not ended in {timeout_s:g} s"
        raise ClusterUnreachable(late) from error
    return ClusterClient(client, where, timeout_s)


def _log_in(chosen: Kubeconfig | None, where: str) -> ApiClient:
    _require_kubernetes()
    from kubernetes.client import ApiClient, Configuration

    configuration = Configuration()
    configuration.retries = False  # type: ignore[assignment]  # urllib3: raise what happened
    _load_credentials(chosen, where, configuration)
    if chosen and chosen.login and not _has_credentials(configuration):
        # The library logs why, and goes on as nobody.
        failed = f"`{chosen.login}` fails; log in again"
        raise NotLoggedIn(f"{where} gives no credentials: {failed}")
    return ApiClient(configuration=configuration)


def _require_kubernetes() -> None:
    try:
        import kubernetes  # noqa: F401
    except ImportError as error:
        missing = "the package `kubernetes` is not installed"
        raise ClusterError(f"{missing}: `make dev`, or `pip install kubernetes`") from error


def _load_credentials(
    chosen: Kubeconfig | None,
    where: str,
    configuration: Configuration,
) -> None:
    from kubernetes import config

    try:
        if chosen is None:
            config.load_incluster_config(client_configuration=configuration)
        else:
            _load_kubeconfig(chosen, configuration)
    except (config.ConfigException, OSError, ValueError, KeyError) as error:
        raise NotLoggedIn(f"{where} gives no credentials: {error}") from error


def _load_kubeconfig(chosen: Kubeconfig, configuration: Configuration) -> None:
    from kubernetes import config

    use: dict[str, Any] = {
        "context": chosen.context,
        "client_configuration": configuration,
        "persist_config": False,
    }
    if chosen.text is None:
        config.load_kube_config(chosen.source, **use)
    else:
        config.load_kube_config_from_dict(yaml.safe_load(chosen.text), **use)


def _has_credentials(configuration: Configuration) -> bool:
    return bool(configuration.api_key or configuration.cert_file)
