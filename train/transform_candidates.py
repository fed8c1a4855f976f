"""Transforms that `--tune` tries beside the present one, and when it tries none."""

from __future__ import annotations

# The likeliest first: a search reads the table for as many of them as it has time for.
_TRANSFORMS = (
    "sd:5,sd:20,residual,top:8",
    "diff:1,sd:20,residual,top:8",
    "diff:1,sd:10",
    "season,sd:5,sd:20,residual,top:8",
    "ewm:20,sd:20,residual,top:8",
    "diff:1,mean:10,sd:10",
    "zscore:60,sd:5",
    "residual",
)
# No other feature explains the only one, and none stands out among it.
_TRANSFORMS_OF_ONE = (
    "diff:1,sd:10",
    "diff:1,mean:10,sd:10",
    "season,sd:20",
    "zscore:60,sd:5",
    "ewm:20,sd:20",
)
UNLABELLED = (
    "no transform is searched for: without labels no criterion that was tried chooses better than "
    "the default (docs/quality.md); --over-time names one"
)


def transforms_to_try(features: int) -> tuple[str, ...]:
    """Return transforms to try for so many raw features, where there are labels to judge by."""
    return _TRANSFORMS if features > 1 else _TRANSFORMS_OF_ONE
