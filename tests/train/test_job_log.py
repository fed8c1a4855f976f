"""Progress in the log of a job: what is written is read, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.job_log import JobLog, ProgressLine, decode_line

lines = st.builds(
    ProgressLine,
    st.text(),
    st.none() | st.floats(0, 1),
)


@given(lines)
def test_a_line_is_read_as_it_was_written(line: ProgressLine) -> None:
    written = line.encode()
    assert "\n" not in written
    assert decode_line(written) == line


@pytest.mark.parametrize(
    "line",
    [
        "",
        "fitted 100 trees",
        '{"version": "7"}',
        "Running entrypoint for job train-k: env nice python -m vigil train",
        "vigil-progress ",
        "vigil-progress {",
        'vigil-progress {"share": 0.5}',
        ProgressLine("half", 0.5).encode()[:-3],
    ],
)
def test_other_lines_are_no_progress(line: str) -> None:
    assert decode_line(line) is None


def test_a_job_writes_steps_at_once_and_parts_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = JobLog(part_interval_s=1e9)
    log("one line\nand another")
    log.part("4 of 9", 4 / 9)
    log = JobLog(part_interval_s=-1.0)
    log.part("5 of 9", 5 / 9)
    written = capsys.readouterr().err.splitlines()
    assert [decode_line(line) for line in written] == [
        ProgressLine("one line\nand another"),
        ProgressLine("5 of 9", 5 / 9),
    ]
