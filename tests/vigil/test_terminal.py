"""What commands print for people."""

from __future__ import annotations

import pytest

from vigil.terminal import print_figures


def test_figures_have_no_signs_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"statuses": {"200": 7, "503": 1}, "versions": ["1", "2"], "after": None, "rows": 8}
    print_figures(figures, as_json=False)
    shown = capsys.readouterr().out
    assert not set("[]{}'") & set(shown)
    assert all(words in shown for words in ("200: 7, 503: 1", "1, 2", "-", "8"))
