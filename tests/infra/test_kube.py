"""The client of a cluster: which kubeconfig is meant, deadlines, and errors that say what to do."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.kube import ClusterUnreachable, NotAllowed, NotLoggedIn, connect
from infra.kubeconfig import (
    ClusterError,
    NoKubeconfig,
    UnknownContext,
    find_kubeconfig,
    parse_kubeconfig,
)
from tests.infra import api_server
from tests.infra.api_server import FakeApi, kubeconfig, kubeconfig_file, status


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with api_server.api() as server:
        yield server


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# --- which cluster ---


def test_without_a_kubeconfig_the_message_names_the_file_that_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(tmp_path / "nowhere")
    monkeypatch.setenv("KUBECONFIG", missing)
    with pytest.raises(NoKubeconfig, match=r"nowhere does not exist.*KUBECONFIG"):
        find_kubeconfig()
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NoKubeconfig, match=r"~/.kube/config does not exist"):
        find_kubeconfig()
    with pytest.raises(NoKubeconfig, match="nowhere"):
        find_kubeconfig(missing)


def test_in_a_pod_its_own_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    assert find_kubeconfig(pod_account=token) is None


@pytest.mark.parametrize("text", ["just: words", "a: [", "42"])
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(NoKubeconfig, match="is no kubeconfig"):
        find_kubeconfig(kubeconfig_file(tmp_path, text))


def test_a_context_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    file = kubeconfig_file(tmp_path, kubeconfig("http://127.0.0.1:1"))
    with pytest.raises(UnknownContext, match=r"no context 'prod' \(it has kind-vigil, other\)"):
        find_kubeconfig(file, "prod")
    with pytest.raises(UnknownContext, match=r"chooses no context \(it has kind-vigil, other\)"):
        find_kubeconfig(kubeconfig_file(tmp_path, kubeconfig("http://127.0.0.1:1", current=None)))
    with pytest.raises(UnknownContext, match="the stack's kubeconfig has no context"):
        find_kubeconfig(kubeconfig("http://127.0.0.1:1"), "prod")


def test_several_files_are_one_kubeconfig_as_for_kubectl(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = kubeconfig_file(tmp_path, kubeconfig("http://127.0.0.1:1"))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'gone'}:{file}")
    found = find_kubeconfig(context="other")
    assert found is not None
    assert (found.source, found.context) == (file, "other")


# --- reading ---


def test_a_text_and_a_file_reach_the_same_cluster(api: FakeApi, tmp_path: Path) -> None:
    text = kubeconfig(api.url)
    as_json = json.dumps({"apiVersion": "v1", **parse_kubeconfig("here", text)})  # as EKS gives it
    for one in (text, as_json, kubeconfig_file(tmp_path, text)):
        assert connect(one).get("/version") == {"minor": "35"}
    assert set(api.tokens) == {"Bearer t0ken"}


def test_what_is_not_there_is_none_and_of_an_unknown_kind_there_are_none(api: FakeApi) -> None:
    cluster = connect(kubeconfig(api.url))
    assert cluster.get("/api/v1/namespaces/vigil") is None
    assert cluster.list("/apis/ray.io/v1/rayservices") == []
    api.replies["/api/v1/pods"] = 200, {"items": [{"metadata": {"name": "a"}}]}
    assert len(cluster.list("/api/v1/pods", labels="a=b,c")) == 1
    assert api.asked[-1] == "/api/v1/pods?limit=500&labelSelector=a%3Db%2Cc"


def test_refusals_and_faults_are_told_in_the_api_servers_words(api: FakeApi) -> None:
    cluster = connect(kubeconfig(api.url))
    api.replies["/a"] = status(403, 'pods is forbidden: User "x" cannot list resource "pods"')
    api.replies["/b"] = status(500, "etcdserver: request timed out")
    api.replies["/c"] = status(401, "Unauthorized")
    with pytest.raises(NotAllowed, match='User "x" cannot list'):
        cluster.get("/a")
    with pytest.raises(ClusterError, match="answers 500: etcdserver: request timed out"):
        cluster.get("/b")
    with pytest.raises(NotLoggedIn, match=r"context 'kind-vigil' of the stack's.*log in"):
        cluster.get("/c")


def test_a_log_is_text_and_one_that_is_not_there_is_empty(api: FakeApi) -> None:
    api.replies["/api/v1/namespaces/n/pods/p/log"] = 200, "a\nb\n"
    cluster = connect(kubeconfig(api.url))
    assert cluster.log("n", "p", "c", previous=True, lines=3) == "a\nb\n"
    assert "previous=true" in api.asked[-1]
    assert "container=c" in api.asked[-1]
    assert cluster.log("n", "other", "c", previous=False, lines=3) == ""


# --- away ---


def test_an_api_server_that_is_away_is_named_with_its_context() -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(ClusterUnreachable, match=r"Connection refused") as caught:
        connect(kubeconfig(url), "other").get("/version")
    assert url in caught.value.message
    assert "context 'other'" in caught.value.message
    assert "HTTPConnection" not in caught.value.message


def test_an_api_server_that_hangs_ends_at_the_deadline(api: FakeApi) -> None:
    api.hang.set()
    with pytest.raises(ClusterUnreachable, match="timed out"):
        connect(kubeconfig(api.url), timeout_s=0.3).get("/version")


def test_a_program_for_credentials_is_run_and_its_failure_is_told(api: FakeApi) -> None:
    """As `aws eks get-token` is, in the kubeconfig of EKS."""

    def user(code: str) -> dict[str, object]:
        command = {"command": sys.executable, "args": ["-c", code]}
        return {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", **command}}

    credential = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "status": {"token": "from-a-program"},
    }
    text = kubeconfig(api.url, user(f"print({json.dumps(json.dumps(credential))})"))
    connect(text).get("/version")
    assert api.tokens == ["Bearer from-a-program"]
    failing = kubeconfig(api.url, user("import sys; sys.exit('The SSO session has expired')"))
    with pytest.raises(NotLoggedIn, match=r"SSO session has expired'\)` fails; log in again"):
        connect(failing)
    api.hang.set()  # the program ends with this server
    slow = f"import urllib.request as r; r.urlopen({api.url!r})"
    with pytest.raises(ClusterUnreachable, match=r"credentials has not ended in 0.3 s"):
        connect(kubeconfig(api.url, user(slow)), timeout_s=0.3)


def test_without_the_library_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(ClusterError, match="`make dev`"):
        connect(kubeconfig("http://127.0.0.1:1"))


def test_the_library_is_loaded_only_when_a_cluster_is_asked() -> None:
    rooms = "infra.cli, infra.kube, infra.observe, infra.readiness, infra.preflight"
    code = f"import sys, {rooms}; sys.exit('kubernetes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
