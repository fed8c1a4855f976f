"""The stream application, switched on by settings alone.

It stays: without it the cluster would be another one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.manifests.parts import HOME_PATH
from tests.cluster.kube import eventually
from tests.cluster.platform import Platform
from tests.cluster.stack import foretold


def test_a_stream_is_scored_by_settings_alone(
    platform: Platform, current: dict[str, Any], tmp_path: Path
) -> None:
    folder = f"{HOME_PATH}/stream"
    files = {name: f"file:{folder}/{name}" for name in ("source", "scores", "refused")}
    streams = {
        "streamSource": files["source"],
        "streamSinks": files["scores"],
        "streamDeadLetters": files["refused"],
    }
    change = {"serve": current["serve"] | streams}
    assert foretold(current, current | change, tmp_path) == {"in place"}
    serving, before = platform.active_cluster(), platform.pods_of("serve-worker")
    (head,) = platform.cluster.ready("train-head")
    features = platform.ask("/readyz")[1]["features"]
    records = [
        json.dumps({"id": place, "features": [float(place)] * len(features)})
        for place in range(200)
    ]
    write = f"mkdir -p {folder}/source && cat > {folder}/source/a.jsonl"
    platform.cluster.execute(
        head, ["sh", "-c", write], text="".join(f"{line}\n" for line in records)
    )
    with platform.load() as load:
        platform.stack.set(change)
        platform.stack.up()
        count = ["sh", "-c", f"cat {folder}/scores/*.jsonl 2>/dev/null | wc -l"]
        with platform.timed("stream: 200 records scored"):
            eventually(
                "all records are scored",
                lambda: platform.cluster.execute(head, count).strip() == "200",
                300,
            )
    assert (platform.active_cluster(), platform.restarted(before)) == (serving, set())
    assert load.result["failed"] == 0, load.result["failures"]
    (pod,) = platform.cluster.pods("stream")
    assert pod["spec"]["serviceAccountName"] == "vigil-stream"
    platform.stack.preview("--expect-no-changes")
