"""Environments of the peers that Vigil is measured against."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import peers


def test_a_peer_that_cannot_be_installed_is_named_with_the_reason_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path))
    for _ in range(2):
        with pytest.raises(
            peers.PeerUnavailable, match=r"rival cannot be installed: .*rival-1-py3-none-any\.whl"
        ):
            peers.interpreter("rival", str(tmp_path / "rival-1-py3-none-any.whl"))
