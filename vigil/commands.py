"""The commands of `vigil`: where each is, and what it does in a line.

To list them none has to be imported: `vigil --help` should not wait for the rooms.
"""

from __future__ import annotations

from typing import NamedTuple


class MountedCommand(NamedTuple):
    """A command: its module, with the function where that has another name, and its help."""

    place: str
    help: str


COMMANDS = {
    "up": MountedCommand("serve.local.cli", "start the platform; --data trains a version first"),
    "down": MountedCommand("serve.local.cli", "stop the platform, and what a crash has left"),
    "status": MountedCommand("serve.local.cli", "parts, versions that replicas serve, drift"),
    "top": MountedCommand("serve.local.top", "traffic, anomalies, drift and replicas, live"),
    "demo": MountedCommand("serve.local.cli", "train, serve, drift, retrain, gate, swap"),
    "stream": MountedCommand("serve.local.stream_command", "replay a table live; score a stream"),
    "settings": MountedCommand("serve.local.show_settings", "each setting, and who has set it"),
    "keys": MountedCommand("serve.local.keys", "API keys, and the key that signs models"),
    "replay": MountedCommand("serve.local.replay", "score a captured request once more"),
    "train": MountedCommand("train.cli:train_command", "fit, judge and register a version"),
    "models": MountedCommand("train.versions_cli:models_command", "registered versions"),
    "promote": MountedCommand("train.versions_cli:promote_command", "make a version the champion"),
    "rollback": MountedCommand("train.versions_cli:rollback_command", "back to a former champion"),
    "recalibrate": MountedCommand(
        "train.versions_cli:recalibrate_command",
        "a new threshold for the champion's forest",
    ),
    "drift": MountedCommand("drift.cli", "what the monitor sees; check one window from files"),
    "backtest": MountedCommand("drift.backtest_cli", "the incidents that history would have had"),
    "incidents": MountedCommand("drift.incidents.cli:incidents_command", "incidents, and answers"),
    "silence": MountedCommand("drift.incidents.cli:silence_command", "times without incidents"),
    "rules": MountedCommand("drift.incidents.cli:rules_command", "what dismissals hold back"),
    "mcp": MountedCommand("serve.mcp_server:mcp_command", "the service as tools for assistants"),
    "render": MountedCommand("infra.cli", "the Kubernetes manifests of an environment, as YAML"),
    "ship": MountedCommand("infra.ship", "steps of delivery"),
    "doctor": MountedCommand("infra.cli", "what is wrong; what a change would do"),
}
# They read the name of the model: one that is not that of the other rooms would go unseen.
MODEL_COMMANDS = {
    "up",
    "demo",
    "stream",
    "replay",
    "train",
    "models",
    "promote",
    "rollback",
    "recalibrate",
    "drift",
}
