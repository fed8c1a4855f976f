"""The monitor's memory under its lease: of several monitors the leader alone writes it."""

from __future__ import annotations

import logging

from drift.memory import MonitorMemory
from drift.state import LostLease, StateStore

log = logging.getLogger("ray.serve")
_UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError)


class LeasedMemory:
    """What is remembered, and whether this monitor may write it. The caller locks."""

    def __init__(self, store: StateStore) -> None:
        self.content = MonitorMemory()
        self.is_leader = False
        self._store = store

    def acquire_lease(self) -> bool:
        """Become, or stay, the leader, where nobody else is.

        A new leader goes on where the former stopped.
        """
        was_leader = self.is_leader
        self.is_leader = self._try_lease()
        if self.is_leader and not was_leader:
            self._load()
        return self.is_leader

    def _try_lease(self) -> bool:
        try:
            return self._store.acquire_lease()
        except OSError as error:
            log.warning("the monitor's state cannot be reached, nothing is decided: %s", error)
            return False

    def _load(self) -> None:
        """Go on where a former leader stopped; a state of another form is begun anew."""
        try:
            stored = self._store.load()
            if stored is not None:
                self.content = MonitorMemory.from_json(stored)
        except _UNREADABLE as error:
            log.warning("the monitor's state cannot be read, it starts anew: %s", error)

    def require(self) -> None:
        """Raise LostLease unless this monitor is the leader."""
        if not self.is_leader:
            raise LostLease("another monitor holds the state: ask the cluster that it runs on")

    def save(self) -> None:
        """Store it, as the leader; who has lost the lease stands by from now on."""
        if not self.is_leader:
            return
        document = self.content.to_json()
        try:
            self._store.save(document)
        except LostLease as error:
            self.is_leader = False
            log.warning("standing by: %s", error.message)
        except OSError as error:
            log.warning("the monitor's state cannot be written: %s", error)

    def release(self) -> None:
        """Let another monitor take over."""
        self._store.release()
        self.is_leader = False
