"""Which process runs which tests, also after one of them has died."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# A process of pytest-xdist begins a test when it knows the next one or that there is none.
KNOWN_AHEAD = 2


class Files(LoadScopeScheduling):
    """One file after the other on every core; all that starts a platform in one process.

    Of pytest-xdist 3.8 "loadfile" knows no groups; "loadgroup" loses them under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "tests/flow" if file.startswith("tests/flow/") else file

    def _reschedule(self, node: WorkerController) -> None:
        """Give a process enough to begin.

        pytest-xdist gives one file. After a process has died that can be a file that was done
        before, or one test for the process in its place: both would wait for ever.
        """
        super()._reschedule(node)
        while not node.shutting_down and self._tests_ahead(node) < KNOWN_AHEAD:
            super()._reschedule(node)

    def _tests_ahead(self, node: WorkerController) -> int:
        return self._pending_of(self.assigned_work[node])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Files:
    """Return the scheduler of a run; pytest-xdist finds it by its name in a conftest."""
    config.option.loadscopereorder = False
    return Files(config, log)
