"""Steps that mix the features of one row: `residual` and `rotate`. Each is centred and projected.

residual: what ridge regression on all other features does not explain of each. The weights of all
regressions come from one inverse (Lauritzen, Graphical Models, 1996, section 5.1): with P the
inverse of the ridged correlation, the residual of feature j is sum_k P_jk z_k / P_jj.
rotate: random oblique directions, so that a forest that cuts along axes cuts obliquely (Hariri et
al., Extended Isolation Forest, 2019), in the space in which all directions have one spread: in the
space of the features nearly all directions are along what correlated features have in common.
"""

from __future__ import annotations

import numpy as np

from train.model.distances import robust_spread
from train.table.transform.carried import project
from vigil.arrays import Floats

RIDGE = 0.01  # of the variance of a feature
_OUTLIER = 5.0  # spreads from the median: what lies further counts as so far


def fit_residual(X: Floats) -> dict[str, Floats]:
    """Return `centre` [d] and `weights` [d, d] of the residuals of `X` [n, d], in spreads."""
    centre, spread, Z = _standardised(X)
    precision = np.linalg.inv(_ridged_correlation(Z))
    weights = precision / np.diag(precision)  # a column for each residual
    return {"centre": centre, "weights": np.ascontiguousarray(weights / spread[:, None])}


def fit_rotation(
    X: Floats,
    directions: int,
    seed: int,
) -> dict[str, Floats]:
    """Return `centre` [d] and `weights` [d, k] of random directions of about unit spread."""
    centre, spread, Z = _standardised(X)
    rng = np.random.default_rng([seed, directions])
    normals = rng.normal(size=(len(centre), directions))
    units = normals / np.linalg.norm(normals, axis=0)
    weights = _whitening(Z) @ units / spread[:, None]
    return {"centre": centre, "weights": np.ascontiguousarray(weights)}


def project_centred(
    X: Floats,
    centre: Floats,
    weights: Floats,
) -> Floats:
    """Return the rows `X` [n, d], centred, times `weights` [d, k]: the same bits for any n."""
    out = np.zeros((len(X), weights.shape[1]))
    project(X - centre, weights, out)
    return out


def _ridged_correlation(Z: Floats) -> Floats:
    return Z.T @ Z / len(Z) + RIDGE * np.eye(Z.shape[1])


def _whitening(Z: Floats) -> Floats:
    """The inverse root [d, d] of the ridged correlation: rows times it are uncorrelated."""
    variances, axes = np.linalg.eigh(_ridged_correlation(Z))
    return axes / np.sqrt(variances) @ axes.T


def _standardised(X: Floats) -> tuple[Floats, Floats, Floats]:
    """Median and spread [d] of the features, and the rows in spreads with outliers drawn in."""
    centre = np.median(X, axis=0)
    spread = robust_spread(X)
    Z = np.clip((X - centre) / spread, -_OUTLIER, _OUTLIER)
    return centre, spread, Z
