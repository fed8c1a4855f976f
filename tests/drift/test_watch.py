"""The drift monitor without Ray: reports in, windows on disk, verdicts, state that survives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from drift.feedback import Label
from drift.release import Retraining
from drift.replicas import REPLICA_TIMEOUT_S
from drift.state import LostLease
from drift.statistics import compare
from drift.verdict import judge_window
from serve.exposition import collect_metrics
from serve.metrics import ServeMetrics
from serve.model.canary import Arm
from serve.model.report import CanaryReport, CapturedRows, ShadowReport
from tests.drift.conftest import ShownWatch
from train.registry.canary import Canary
from train.registry.versions import Desired, Version
from train.table.captured import read_captured

Make = Callable[..., Any]
NOW = 1_700_000_000.0
WINDOW = 100


def samples(watch: ShownWatch, now: float = NOW) -> dict[tuple[str, ...], float]:
    """Every sample of the exposition by its name and label values."""
    families = text_string_to_metric_families(watch.display.exposition(now).decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_rows_of_another_version_are_skipped_and_counted(
    watch: Make, report: Make, live: Make
) -> None:
    seen = watch()
    seen.ingest(report(live(30)), NOW)
    seen.ingest(report(live(70), version="0"), NOW)
    status = seen.status(NOW)
    assert (status["rows_seen"], status["rows_in_window"], status["verdict"]) == (100, 30, None)
    assert samples(seen)["vigil_drift_skipped_rows_total",] == 70


def test_rows_before_the_first_champion_are_skipped(watch: Make, report: Make, live: Make) -> None:
    former = watch()
    former.close()
    never = ShownWatch(former.settings)
    never.ingest(report(live(10)), NOW)
    assert samples(never)["vigil_drift_skipped_rows_total",] == 10
    assert never.status(NOW)["features"] == []
    assert never.status(NOW).keys() == former.status(NOW).keys()
    never.close()


def test_windows_are_captured_as_training_reads_them(
    watch: Make, report: Make, live: Make, tmp_path: Path
) -> None:
    seen, rows = watch(), live(250)
    for i in range(0, 250, 50):
        seen.ingest(report(rows[i : i + 50]), NOW + i)
    captured = read_captured(tmp_path / "captured", NOW)
    assert captured is not None
    assert captured.names == tuple("abcdef")
    np.testing.assert_array_equal(captured.X, rows[:200])
    later = read_captured(tmp_path / "captured", NOW + 1)
    assert later is not None
    np.testing.assert_array_equal(later.X, rows[100:200])
    assert [
        str(f.relative_to(tmp_path / "captured").parent) for f in tmp_path.rglob("*.parquet")
    ] == ["date=2023-11-14"] * 2


def test_only_the_latest_windows_are_kept(
    watch: Make, report: Make, live: Make, tmp_path: Path
) -> None:
    seen = watch(keep_windows=10)
    for i in range(12):
        seen.ingest(report(live(WINDOW, seed=i)), NOW + i)
    captured = read_captured(tmp_path / "captured", 0)
    assert captured is not None
    np.testing.assert_array_equal(captured.X[:WINDOW], live(WINDOW, seed=2))
    assert len(captured) == 10 * WINDOW


def test_a_full_disk_is_counted_and_costs_no_verdict(
    watch: Make, report: Make, live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    seen = watch()
    monkeypatch.setattr(pq, "write_table", full)
    monkeypatch.setattr("drift.state.write_json", full)
    seen.ingest(report(live(WINDOW, shift=3)), NOW)
    assert seen.status(NOW)["verdict"]["verdict"] == "population drift"
    assert seen.severity > 1
    assert samples(seen)["vigil_capture_write_failures_total",] == 1


def test_drifted_features_are_told_with_their_evidence(
    watch: Make, report: Make, live: Make
) -> None:
    seen, rows = watch(), live(WINDOW)
    rows[:, 2] += 3
    rows[:, 4] += 1.5
    seen.ingest(report(rows), NOW)
    status = seen.status(NOW)
    assert status["verdict"]["features"] == ["c", "e"]
    assert status["drift_score"] == status["verdict"]["severity"] > 1
    worst = max(status["features"], key=lambda f: f["ks"] / f["floor"])
    assert worst["feature"] == "c"
    assert samples(seen)["vigil_drift_windows_total", "population drift"] == 1


def test_the_status_of_a_judged_window_can_be_answered(
    watch: Make, report: Make, live: Make
) -> None:
    seen = watch()
    seen.ingest(report(live(WINDOW)), NOW)
    answer = msgspec.json.decode(
        msgspec.json.encode(seen.status(NOW))
    )  # a NumPy number would be refused
    assert answer["scores"]["ks"] > 0
    assert answer["calibration"]["promised"] is True
    assert set(answer["features"][0]) >= {
        "feature",
        "ks",
        "floor",
        "alone",
        "wasserstein",
        "correlation",
    }


def drifted(seen: ShownWatch, report: Make, live: Make) -> None:
    """Three windows of another world, a second apart: enough for a retraining."""
    for i in range(3):
        seen.ingest(report(live(WINDOW, shift=3, seed=i)), NOW + i)


def test_state_survives_a_restart(watch: Make, report: Make, live: Make) -> None:
    before = watch()
    drifted(before, report, live)
    after = watch()
    assert after.state == before.state
    assert after.state.phase == "retraining"
    assert after.cause == before.cause
    assert before.state.episode in after.cause
    after.finish(Retraining("kept", "no better", "2"), NOW + 60)
    third = watch()
    assert third.state.phase == "cooling"
    assert third.status(NOW)["last_retraining"] == {
        "outcome": "kept",
        "reason": "no better",
        "version": "2",
        "cause": before.cause,
        "at": NOW + 60,
    }
    assert samples(after)["vigil_retrains_total", "kept"] == 1


def test_an_unreadable_state_is_begun_anew(watch: Make, tmp_path: Path) -> None:
    watch()
    (tmp_path / "state" / "monitor.json").write_text('{"governor": {')
    assert watch().state.phase == "watching"
    assert json.loads((tmp_path / "state" / "monitor.json").read_text())["followed"] == "1"


@pytest.mark.parametrize(("promoted", "phase"), [("2", "cooling"), ("3", "watching")])
def test_a_champion_of_its_own_leaves_the_cooldown(
    watch: Make,
    report: Make,
    live: Make,
    bundle: Any,
    version: Callable[[str], Version],
    promoted: str,
    phase: str,
) -> None:
    seen = watch()
    drifted(seen, report, live)
    seen.finish(Retraining("promoted", "better", "2"), NOW)
    seen.follow(version(promoted), bundle, NOW)
    assert seen.state.phase == phase
    assert (seen.status(NOW)["verdict"], seen.severity, seen.following) == (None, 0.0, promoted)


def test_a_new_champion_begins_a_new_window(
    watch: Make, report: Make, live: Make, bundle: Any, version: Any
) -> None:
    seen = watch()
    seen.ingest(report(live(60)), NOW)
    seen.follow(version("2"), bundle, NOW)
    seen.ingest(report(live(60), version="2"), NOW)
    assert (seen.status(NOW)["rows_in_window"], seen.status(NOW)["verdict"]) == (60, None)


def test_replicas_expire_and_laggards_are_named(watch: Make, report: Make, live: Make) -> None:
    clock = [0.0]
    seen = watch(seconds=lambda: clock[0])
    seen.ingest(report(live(0), replica="gone"), NOW)
    clock[0] = REPLICA_TIMEOUT_S
    seen.ingest(report(live(0), replica="new"), NOW)
    seen.ingest(report(live(0), version="0", replica="old"), NOW)
    status = seen.status(NOW)
    assert [r["replica"] for r in status["replicas"]] == ["new", "old"]
    assert status["lagging"] == ["old"]
    found = samples(seen)
    assert (found["vigil_model_replicas", "1"], found["vigil_model_replicas", "0"]) == (1, 1)
    clock[0] += REPLICA_TIMEOUT_S
    assert ("vigil_model_replicas", "1") not in samples(seen)


def test_a_dead_replica_is_in_no_state_any_more(watch: Make, report: Make, live: Make) -> None:
    clock, metrics = [0.0], ServeMetrics()
    seen = watch(seconds=lambda: clock[0])
    metrics.last_known_good.set(1)
    seen.ingest(report(live(0), counts=collect_metrics(metrics.registry)), NOW)
    assert samples(seen, NOW)["vigil_model_last_known_good",] == 1
    clock[0] = REPLICA_TIMEOUT_S
    assert ("vigil_model_last_known_good",) not in samples(seen)


def test_a_report_judges_the_canary_and_feeds_the_shadow(
    watch: Make, report: Make, live: Make, version: Make
) -> None:
    seen = watch()
    canary = Canary("2", "1", 5.0, ((0.1, 60.0),))
    seen.rollout.follow(Desired(version("1"), canary=canary))
    running = CanaryReport(
        started=5.0, budget=0.01, champion=Arm().counts(), canary=Arm(errors=2).counts()
    )
    shadow = ShadowReport(champion="1", challenger="2", errors=1)
    seen.ingest(report(live(0), canary=running, shadow=shadow), NOW)
    status = seen.status(NOW)
    assert (seen.rollout.stopped, status["canary"]["stopped"]) == (
        5.0,
        "it failed on 2 of 2 requests",
    )
    assert status["shadow"]["errors"] == 1


def test_the_exposition_sums_replicas_and_keeps_the_dead(
    watch: Make, report: Make, live: Make
) -> None:
    seen = watch()
    seen.ingest(report(live(0), replica="r1", scored=5), NOW - 60)
    seen.ingest(report(live(0), replica="r2", scored=3), NOW)
    seen.ingest(report(live(0), replica="r2", scored=4), NOW)
    found = samples(seen)
    assert found["vigil_rows_scored_total",] == 9
    assert found["vigil_request_seconds_bucket", "+Inf"] == 0
    assert not any(name.endswith("_created") for name, *_ in found)


def test_windows_of_one_report_are_all_captured(
    watch: Any, report: Any, live: Any, tmp_path: Path
) -> None:
    watch().ingest(report(live(300)), NOW)
    captured = read_captured(tmp_path / "captured", 0)
    assert captured is not None
    assert len(captured) == 300


def test_broken_windows_are_not_trained_on(
    watch: Any, report: Any, live: Any, tmp_path: Path
) -> None:
    rows = live(100)
    rows[:, 2] = rows[0, 2]  # stuck
    watch().ingest(report(rows), NOW)
    assert read_captured(tmp_path / "captured", 0) is None


@pytest.mark.parametrize("raw", [b"null", b"[]", b'{"cause": ""}', b'{"cause": "\xff"}'])
def test_foreign_state_is_begun_anew(watch: Any, tmp_path: Path, raw: bytes) -> None:
    watch()
    (tmp_path / "state" / "monitor.json").write_bytes(raw)
    assert watch().state.phase == "watching"


def test_of_two_monitors_with_one_state_one_decides(
    watch: Make, report: Make, live: Make, bundle: Any, version: Any
) -> None:
    first = watch()
    second = ShownWatch(first.settings)
    second.follow(version("1"), bundle, NOW)
    for seen in (first, second):
        drifted(seen, report, live)
        seen.tick(NOW + 10)
    assert [(seen.is_leader, seen.state.phase) for seen in (first, second)] == [
        (True, "retraining"),
        (False, "watching"),
    ]
    assert second.status(NOW)["standby"] is True
    assert second.status(NOW)["replicas"]
    with pytest.raises(LostLease, match="another monitor"):
        second.switch("observe", NOW)
    first.close()
    assert second.acquire_lease()
    assert second.state == first.state
    second.close()


def test_a_window_that_nobody_fills_is_judged_after_a_while(
    watch: Make, report: Make, live: Make
) -> None:
    seen = watch(window_s=60.0)
    seen.ingest(report(live(40, shift=3)), NOW)
    seen.tick(NOW + 59)
    assert seen.status(NOW)["verdict"] is None
    seen.tick(NOW + 61)
    assert seen.status(NOW)["verdict"]["verdict"] == "population drift"
    seen.ingest(report(live(10)), NOW + 70)
    seen.tick(NOW + 300)
    seen.tick(NOW - 3600)  # the clock goes back
    assert seen.status(NOW)["rows_in_window"] == 10  # too few to say anything
    seen.ingest(report(live(30)), NOW - 3600)
    seen.tick(NOW - 3500)
    assert seen.status(NOW)["rows_in_window"] == 0


def test_a_short_window_of_the_same_world_is_quiet(bundle: Any, live: Make) -> None:
    ref = bundle.reference
    for seed in range(40):
        rows = live(20, seed=seed)
        assert (
            judge_window(ref.of_window(20), compare(ref.of_window(20), rows), 0.01).kind == "none"
        )


def test_the_clock_alone_starts_a_scheduled_retraining(watch: Make) -> None:
    seen = watch(schedule_hours=1.0)
    seen.tick(NOW)
    seen.tick(NOW + 3600)
    assert seen.state.phase == "retraining"
    assert "by schedule" in seen.cause
    assert watch(schedule_hours=1.0).state == seen.state


def test_switched_to_observe_nothing_is_promoted_any_more(
    watch: Make, report: Make, live: Make
) -> None:
    seen = watch()
    drifted(seen, report, live)
    assert seen.may_promote
    seen.switch("observe", NOW)
    assert (seen.state.phase, seen.may_promote) == ("retraining", False)
    again = watch()
    assert not again.may_promote  # a restart does not switch it on again
    again.switch(None, NOW)
    assert again.may_promote


def test_transitions_are_remembered_with_their_reasons(
    watch: Make, report: Make, live: Make
) -> None:
    seen = watch()
    drifted(seen, report, live)
    seen.finish(Retraining("kept", "no better", "2"), NOW + 60)
    told = watch().status(NOW)["timeline"]
    assert [move["phase"] for move in told] == ["collecting", "retraining", "cooling"]
    assert told[0]["episode"] == told[1]["episode"]
    assert told[2]["reason"].startswith("kept: no better")


def test_an_episode_and_a_data_break_have_a_report(watch: Make, report: Make, live: Make) -> None:
    seen = watch()
    drifted(seen, report, live)
    written = seen.display.reports.take()
    assert written.episode == seen.state.episode
    assert "6 of 6 features have drifted" in written.page
    assert written.page.count('class="over"') == 6
    stuck = live(WINDOW)
    stuck[:, 0] = 1.0
    for i in range(2):
        seen.ingest(report(stuck), NOW + 10 + i)
    assert "the data are broken in a (stuck)" in seen.display.reports.take().page
    assert seen.display.reports.take() is None


def test_a_label_finds_its_row_after_a_restart_in_what_was_captured(
    watch: Make, report: Make, live: Make
) -> None:
    scores = np.zeros(WINDOW)
    scores[7] = 1.0
    batch = CapturedRows("1", live(WINDOW), scores, [f"r{i}" for i in range(WINDOW)])
    watch().ingest(report(live(0), rows=[batch]), NOW)
    again = watch()
    assert again.label([Label("r7", True), Label("r8", True), Label("unheard", False)]) == {
        "matched": 2,
        "waiting": 1,
    }
    told = again.status(NOW)["feedback"]["champion"]
    assert (told["true_positive"], told["false_negative"]) == (1, 1)
    assert samples(again)["vigil_feedback_precision", "value"] == 1.0


def test_features_tell_their_trend(watch: Make, report: Make, live: Make) -> None:
    seen = watch(mode="observe")
    for i in range(25):
        seen.ingest(report(live(WINDOW, shift=3 * (i == 24), seed=i)), NOW + i)
    trend = seen.status(NOW)["features"][0]["trend"]
    assert len(trend) == 20
    assert trend[-1] > 2 > max(trend[:-1])
