"""Names of the Serve applications: who deploys one and who asks one by its handle agree here."""

from __future__ import annotations

SCORING_APPLICATION = "vigil"
MONITOR_APPLICATION = "drift"
STREAM_APPLICATION = "stream"
