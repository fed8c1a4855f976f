"""Imported by each of Ray's workers when it starts (`RAY_preload_python_modules`).

Serve imports pandas, and pandas pyarrow, to encode data frames that a handler may return: 30 to 70
MB in each of Serve's processes, and a quarter of a second of CPU at its start. No handler of
Vigil's returns one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_SERVE_ENCODERS = "ray.serve._private.utils"
_FRAMES = "pandas"


class ServeWithoutFrames(MetaPathFinder):
    """Has Serve's encoders find no pandas, which they take for not installed."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find the one module, with a loader of this file."""
        if fullname != _SERVE_ENCODERS or _FRAMES in sys.modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutFrames(spec.loader)
        return spec


class _WithoutFrames(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[_FRAMES] = None  # type: ignore[assignment]  # an import of it fails
        try:
            self._loader.exec_module(module)
        finally:
            del sys.modules[_FRAMES]


sys.meta_path.insert(0, ServeWithoutFrames())
