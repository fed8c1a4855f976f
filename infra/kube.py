"""A Kubernetes cluster, read over its API: plain objects, deadlines, errors that say what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import yaml

from vigil.deadline import call_with_timeout
from vigil.errors import VigilError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

ApiObject = dict[str, Any]
DEFAULT_FILE = "~/.kube/config"
API_TIMEOUT_S = 10.0
POD_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class ClusterError(VigilError):
    """The cluster cannot be read; the message says why and what helps."""

    status = 503


class NoKubeconfig(ClusterError):
    """There is no kubeconfig, or it is none."""


class UnknownContext(ClusterError):
    """The kubeconfig has no such context, or chooses none."""


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


@dataclass(frozen=True)
class Kubeconfig:
    """A kubeconfig in use: where it came from, its contexts, and the one that is meant."""

    source: str
    contexts: tuple[str, ...]
    context: str
    login: str
    """The program that gets its user's credentials; empty: it names them."""
    text: str | None
    """None: a file or files, named by `source`."""

    def __str__(self) -> str:
        return f"context {self.context!r} of {self.source}"


def find_kubeconfig(
    kubeconfig: str | None = None,
    context: str | None = None,
    *,
    pod_account: Path = POD_ACCOUNT,
) -> Kubeconfig | None:
    """The kubeconfig that is meant; None inside a pod that has none but its own account.

    `kubeconfig` is the text of one or the path of a file; None: as kubectl, $KUBECONFIG or else
    ~/.kube/config. Raises NoKubeconfig and UnknownContext.
    """
    if kubeconfig is not None and _is_text(kubeconfig):
        return _chosen("the stack's kubeconfig", [kubeconfig], context, text=kubeconfig)
    named = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_FILE
    files = [Path(name).expanduser() for name in named.split(os.pathsep) if name]
    there = [file for file in files if file.is_file()]
    if not there and kubeconfig is None and pod_account.is_file():
        return None
    if not there:
        raise NoKubeconfig(
            f"no kubeconfig: {named} does not exist. Make a cluster (`kind create cluster --name"
            " vigil`) or fetch the kubeconfig of yours, and name its file in KUBECONFIG"
        )
    texts = [file.read_text() for file in there]
    return _chosen(os.pathsep.join(map(str, there)), texts, context)


def _is_text(kubeconfig: str) -> bool:
    return "\n" in kubeconfig or kubeconfig.lstrip().startswith("{")


def _chosen(
    source: str,
    texts: list[str],
    context: str | None,
    text: str | None = None,
) -> Kubeconfig:
    parsed = [parse_kubeconfig(source, one) for one in texts]
    names = [entry.get("name", "") for one in parsed for entry in one.get("contexts") or []]
    current = next((one["current-context"] for one in parsed if one.get("current-context")), None)
    wanted = context or current
    has = f"it has {', '.join(names)}" if names else "it has none"
    choose = f"({has}): `kubectl config use-context NAME` chooses one"
    if not wanted:
        raise UnknownContext(f"{source} chooses no context {choose}")
    if wanted not in names:
        raise UnknownContext(f"{source} has no context {wanted!r} {choose}")
    login = _login(parsed, wanted)
    return Kubeconfig(source, contexts=tuple(names), context=wanted, login=login, text=text)


def _login(parsed: list[dict[str, Any]], context: str) -> str:
    def entry(kind: str, name: str) -> dict[str, Any]:
        some = [one for file in parsed for one in file.get(f"{kind}s") or []]
        return next((one.get(kind) or {} for one in some if one.get("name") == name), {})

    plugin = entry("user", entry("context", context).get("user", "")).get("exec") or {}
    return " ".join([plugin.get("command", ""), *(plugin.get("args") or [])])


def parse_kubeconfig(source: str, text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = str(error).splitlines()[0]
        raise NoKubeconfig(f"{source} is no kubeconfig (not YAML: {where})") from error
    if not isinstance(found, dict) or "clusters" not in found:
        raise NoKubeconfig(f"{source} is no kubeconfig: it has no `clusters`")
    return found


class ClusterClient:
    """Reads one cluster. Every call ends within `timeout_s`, or raises a ClusterError."""

    def __init__(self, client: ApiClient, where: str, timeout_s: float = API_TIMEOUT_S) -> None:
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

        Raises ClusterAway, NotLoggedIn.
        """
        from urllib3.exceptions import HTTPError, SSLError

        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"Accept": "*/*"}
        call = self._client.param_serialize(
            "GET",
            target,
            header_params=headers,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._client.call_api(*call, _request_timeout=timeout_s or self.timeout_s)
            body = response.read() or b""
        except SSLError as error:
            raise ClusterUnreachable(self._away(f"its certificate is refused: {error}")) from error
        except (HTTPError, OSError) as error:
            raise ClusterUnreachable(self._away(_short(error))) from error
        if response.status == 401:
            asked = f"the API server {self.server} does not know who asks ({self.where})"
            raise NotLoggedIn(f"{asked}: log in again, or fetch the kubeconfig anew")
        return ApiResponse(response.status, body.decode(errors="replace"))

    def _away(self, why: str) -> str:
        return (
            f"the API server {self.server} ({self.where}) does not answer: {why}."
            " Is the cluster running, and this machine in its network?"
        )

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> ApiObject | None:
        """The object at a path; None where there is none, or no such kind. Raises NotAllowed."""
        answer = self.ask(path, query)
        if answer.status == 404:
            return None
        if answer.status == 403:
            raise NotAllowed(f"{answer.json().get('message', f'GET {path} is refused')}")
        if answer.status >= 400:
            told = answer.json().get("message") or answer.body[:200]
            raise ClusterError(f"GET {path}: the API server answers {answer.status}: {told}")
        return answer.json()

    def list(self, path: str, labels: str = "", limit: int = 500) -> list[ApiObject]:
        """The objects of a collection, at most `limit`; none where the kind is unknown."""
        query: dict[str, str | int] = {"limit": limit}
        found = self.get(path, query | ({"labelSelector": labels} if labels else {}))
        return list((found or {}).get("items") or [])

    def log(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int) -> str:
        """The end of a container's log; empty where there is none."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = {"container": container, "tailLines": lines, "limitBytes": 16_384}
        answer = self.ask(path, query | ({"previous": "true"} if previous else {}))
        return answer.body if answer.status == 200 else ""

    def close(self) -> None:
        """Let go of its connections."""
        self._client.rest_client.pool_manager.clear()


def _short(error: BaseException) -> str:
    """The last cause: urllib3 wraps each in a sentence about its pool."""
    seen = error
    while isinstance(inner := getattr(seen, "reason", None), BaseException):
        seen = inner
    return str(seen).rsplit("Failed to establish a new connection: ", 1)[-1]


def connect(
    kubeconfig: str | None = None,
    context: str | None = None,
    timeout_s: float = API_TIMEOUT_S,
) -> ClusterClient:
    """A client of the cluster that `find` names. Raises NoKubeconfig, UnknownContext, NotLoggedIn.

    Nothing is asked of the API server yet; a program that gets credentials (EKS) is run, within
    `timeout_s`.
    """
    found = find_kubeconfig(kubeconfig, context)
    where = str(found) if found else "the pod's own account"
    try:
        client = call_with_timeout(timeout_s, lambda: _client(found, where))
    except TimeoutError as error:
        late = f"{where}: the program that gets its credentials has not ended in {timeout_s:g} s"
        raise ClusterUnreachable(late) from error
    return ClusterClient(client, where, timeout_s)


def _client(found: Kubeconfig | None, where: str) -> ApiClient:
    try:
        from kubernetes import config
        from kubernetes.client import ApiClient, Configuration
    except ImportError as error:
        missing = "the package `kubernetes` is not installed"
        raise ClusterError(f"{missing}: `make dev`, or `pip install kubernetes`") from error

    configuration = Configuration()
    configuration.retries = False  # type: ignore[assignment]  # urllib3: raise what happened
    try:
        if found is None:
            config.load_incluster_config(client_configuration=configuration)
        elif found.text is not None:
            config.load_kube_config_from_dict(
                yaml.safe_load(found.text),
                context=found.context,
                client_configuration=configuration,
                persist_config=False,
            )
        else:
            config.load_kube_config(
                found.source,
                context=found.context,
                client_configuration=configuration,
                persist_config=False,
            )
    except (config.ConfigException, OSError, ValueError, KeyError) as error:
        raise NotLoggedIn(f"{where} gives no credentials: {error}") from error
    if found and found.login and not (configuration.api_key or configuration.cert_file):
        # The library logs why, and goes on as nobody.
        raise NotLoggedIn(f"{where} gives no credentials: `{found.login}` fails; log in again")
    return ApiClient(configuration=configuration)
