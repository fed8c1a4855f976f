"""Which cluster is meant: the kubeconfig in use, its contexts, and how one logs in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vigil.errors import VigilError

ApiObject = dict[str, Any]
DEFAULT_FILE = "~/.kube/config"
_GET_KUBECONFIG = (
    "Make a cluster (`kind create cluster --name vigil`) or fetch the kubeconfig of yours, and"
    " name its file in KUBECONFIG"
)
POD_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class ClusterError(VigilError):
    """The cluster cannot be read; the message says why and what helps."""

    status = 503


class NoKubeconfig(ClusterError):
    """There is no kubeconfig, or it is none."""


class UnknownContext(ClusterError):
    """The kubeconfig has no such context, or chooses none."""


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
    kubeconfig: str | None = None, context: str | None = None, *, pod_account: Path = POD_ACCOUNT
) -> Kubeconfig | None:
    """The kubeconfig that is meant; None inside a pod that has none but its own account.

    `kubeconfig` is the text of one or the path of a file; None: as kubectl, $KUBECONFIG or else
    ~/.kube/config. Raises NoKubeconfig and UnknownContext.
    """
    if kubeconfig is not None and _is_text(kubeconfig):
        return _choose_context(
            "the stack's kubeconfig",
            [kubeconfig],
            context,
            text=kubeconfig,
        )
    named = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_FILE
    files = _existing_files(named)
    if files:
        texts = [file.read_text() for file in files]
        source = os.pathsep.join(map(str, files))
        return _choose_context(source, texts, context)
    if kubeconfig is None and pod_account.is_file():
        return None
    raise NoKubeconfig(f"no kubeconfig: {named} does not exist. {_GET_KUBECONFIG}")


def _is_text(kubeconfig: str) -> bool:
    return "\n" in kubeconfig or kubeconfig.lstrip().startswith("{")


def _existing_files(named: str) -> list[Path]:
    names = filter(None, named.split(os.pathsep))
    files = [Path(name).expanduser() for name in names]
    return list(filter(Path.is_file, files))


def _choose_context(
    source: str,
    texts: list[str],
    context: str | None,
    text: str | None = None,
) -> Kubeconfig:
    entries = KubeconfigEntries([parse_kubeconfig(source, one) for one in texts])
    names = entries.contexts
    wanted = context or entries.current_context
    if not wanted:
        raise UnknownContext(f"{source} chooses no context {_how_to_choose(names)}")
    if wanted not in names:
        raise UnknownContext(f"{source} has no context {wanted!r} {_how_to_choose(names)}")
    login = entries.login(wanted)
    return Kubeconfig(
        source,
        contexts=names,
        context=wanted,
        login=login,
        text=text,
    )


def _how_to_choose(names: Sequence[str]) -> str:
    offered = f"it has {', '.join(names)}" if names else "it has none"
    return f"({offered}): `kubectl config use-context NAME` chooses one"


@dataclass(frozen=True)
class KubeconfigEntries:
    """The entries of one or more kubeconfig files, of which the first one counts."""

    files: list[ApiObject]

    @property
    def contexts(self) -> tuple[str, ...]:
        """The names of all contexts."""
        return tuple(entry.get("name", "") for entry in self._all("contexts"))

    @property
    def current_context(self) -> str | None:
        """The context that is used where none is named."""
        chosen = (file.get("current-context") for file in self.files)
        return next(filter(None, chosen), None)

    def login(self, context: str) -> str:
        """The program that gets the credentials of a context's user; empty where there is none."""
        name = self._entry("context", context).get("user", "")
        plugin = self._entry("user", name).get("exec") or {}
        words = [plugin.get("command", "")]
        words.extend(plugin.get("args") or [])
        return " ".join(words)

    def _entry(self, kind: str, name: str) -> ApiObject:
        for entry in self._all(f"{kind}s"):
            if entry.get("name") == name:
                return entry.get(kind) or {}
        return {}

    def _all(self, kind: str) -> Iterator[ApiObject]:
        for file in self.files:
            yield from file.get(kind) or []


def parse_kubeconfig(source: str, text: str) -> ApiObject:
    """The content of a kubeconfig; raises NoKubeconfig where it is none."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = str(error).splitlines()[0]
        raise NoKubeconfig(f"{source} is no kubeconfig (not YAML: {where})") from error
    if not isinstance(content, dict) or "clusters" not in content:
        raise NoKubeconfig(f"{source} is no kubeconfig: it has no `clusters`")
    return content
