"""scikit-learn forests in skops files, which hold no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

# What serves a forest needs no scikit-learn: it would be a fifth of a replica's memory.
if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

# skops refuses what it does not know. The tree is a C struct, so a hostile file could still read
# out of bounds: parts come from our own workers, and serving reads the verified bundle instead.
SKOPS_TRUSTED = ["sklearn.tree._tree.Tree"]


def dump_forest(forest: IsolationForest, file: Path) -> None:
    """Write the forest into `file`."""
    import skops.io

    skops.io.dump(forest, file)


def load_forest(file: Path) -> IsolationForest:
    """Return the forest in `file`.

    Raises what skops raises for anything that it does not know: UntrustedTypesFoundException,
    ValueError, TypeError or LookupError.
    """
    import skops.io

    forest: Any = skops.io.load(file, trusted=SKOPS_TRUSTED)
    return forest
