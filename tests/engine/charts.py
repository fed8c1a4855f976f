"""A chart repository on loopback: charts of the right names and versions, with nothing in them."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from infra.manifests.operators import HelmChart


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def repository(folder: Path, charts: Sequence[HelmChart]) -> Iterator[str]:
    """Serve these charts from a folder; yields the URL that a stack names."""
    entries = {}
    for chart in charts:
        about = {"apiVersion": "v2", "name": chart.name, "version": chart.version}
        archive = f"{chart.name}-{chart.version}.tgz"
        _pack(folder / archive, {f"{chart.name}/Chart.yaml": yaml.safe_dump(about)})
        entries[chart.name] = [{**about, "urls": [archive]}]
    index = {"apiVersion": "v1", "entries": entries}
    (folder / "index.yaml").write_text(yaml.safe_dump(index))
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _pack(archive: Path, files: dict[str, str]) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
