"""The slope test of the soak: what grows is found, what is noisy, falls or has settled is not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.chaos.soak import ALLOWED, trend

AT = np.arange(0.0, 3600.0, 5.0)


def values(found: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(AT.tolist(), found.tolist(), strict=True))


@pytest.mark.parametrize("per_run", [0.1, 0.5])
def test_growth_is_found_through_noise(per_run: float) -> None:
    noise = np.random.default_rng(0).normal(scale=0.02, size=len(AT))
    assert trend(values(1.0 + per_run * AT / 3600 + noise), 3600) > ALLOWED


def test_noise_a_fall_and_a_start_are_no_growth() -> None:
    noise = np.random.default_rng(1).normal(scale=0.05, size=len(AT))
    assert trend(values(1.0 + noise), 3600) < ALLOWED
    assert trend(values(2.0 - AT / 3600), 3600) == 0.0
    assert trend(values(np.where(AT < 600, AT / 600, 1.0)), 3600) == 0.0
