"""The console in a real browser, beside a stand-in for Ray and the monitor.

tests/flow/test_demo.py has the real ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from drift.incidents.answers import IncidentAnswers
from serve.http.api_keys import KeyRing
from tests.browser import Looked, chromium
from tests.serve.standin import Standin, World, model, promoted, standing
from tests.train.registry.test_promotion import Shelf
from train.model.bundle import ModelBundle
from train.registry.versions import Version

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>alert(1)</script>{{7*7}}"
NAMES = (
    HOSTILE,
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "a" * 300,
    *(f"f{k}" for k in range(8)),
)
Open = Callable[..., Page]
Operated = tuple[Standin, dict[str, str]]


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return model()


@pytest.fixture(scope="module")
def world(bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two minutes of ordinary traffic, then drift that has opened an episode."""
    made = World(tmp_path_factory.mktemp("world"), bundle)
    made.at -= 150
    made.follow("1", bundle)
    made.display.ledger = [promoted(made.at, "1", "", "first model", "vigil up")]
    made.live(120)
    made.live(24, drift=True, refused=1)
    yield made
    made.watch.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def look(browser: Any) -> Iterator[Open]:
    """look(url, **context): a page of a context of its own.

    In it nothing may have gone wrong in the end.
    """
    opened: list[tuple[BrowserContext, Looked]] = []

    def make(url: str, away: bool = False, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        page = context.new_page()
        page.clock.install()
        opened.append((context, Looked(page, url, away)))
        page.goto(url)
        return page

    yield make
    for context, looked in opened:
        context.close()
        looked.check()


@pytest.fixture
def standin(bundle: ModelBundle, world: World) -> Iterator[Standin]:
    with standing(Standin(bundle, links={"Grafana": "https://grafana.example/d/vigil"})) as made:
        made.state = world.state()
        yield made


def test_it_shows_scores_reasons_drift_and_what_happened(standin: Standin, look: Open) -> None:
    page = look(standin.url)
    expect(page.locator("#status-word")).to_have_text("drift")
    expect(page.locator("#news")).to_contain_text("features have drifted")
    expect(page.locator("#convergence")).to_have_text("all 2 replicas serve version 1")
    expect(page.locator("#replicas tr")).to_have_count(2)
    expect(page.locator("#features .over")).to_have_count(5)
    assert float(page.locator("#features .value").first.inner_text().rstrip("\u00d7")) > 1
    expect(page.locator("#c-scores")).to_have_attribute(
        "aria-label", re.compile("anomalies shown, the latest at")
    )
    expect(page.locator("#refused")).to_contain_text("Overloaded")
    expect(page.locator("#timeline > li").first).to_contain_text(
        re.compile("Retraining|an episode is open")
    )
    expect(page.locator("#timeline > li").last).to_contain_text("Version 1")
    expect(page.get_by_role("link", name="Grafana")).to_have_attribute(
        "href", "https://grafana.example/d/vigil"
    )
    expect(page.locator("#t-rate-hint")).to_have_text("48 refused in 10 min")
    assert int(page.locator("#t-anomalies").inner_text()) > 100


def test_reasons_come_by_pointer_and_by_keyboard(standin: Standin, look: Open) -> None:
    page = look(standin.url)
    first = page.locator("#latest button").first
    first.focus()
    tip = page.locator("#tip")
    expect(tip).to_be_visible()
    expect(tip.locator(".reason")).to_have_count(3)
    assert "standard deviations" in (first.text_content() or "")
    page.keyboard.press("Tab")
    expect(page.locator("#latest button").nth(1)).to_be_focused()
    expect(tip).to_be_visible()
    page.locator("#theme").focus()
    expect(tip).to_be_hidden()
    ring = page.evaluate("""() => { document.querySelector('#latest button').focus();
        const { left, top } = document.querySelector('#ring').getBoundingClientRect();
        document.activeElement.blur();
        return [left + 10, top + 10]; }""")
    page.mouse.move(ring[0] + 1, ring[1] + 1)
    expect(tip).to_be_visible()
    page.mouse.move(5, 400)
    expect(tip).to_be_hidden()


def test_an_incident_shows_its_course(standin: Standin, world: World, look: Open) -> None:
    answers = IncidentAnswers(world.watch.desk)
    listed = answers.incidents(None, 50, None)["incidents"]
    incident = max(listed, key=lambda one: one["rows"])
    page = look(standin.url)
    entry = page.locator(f'#incidents > li[data-key="{incident["id"]}"]')
    expect(entry).to_contain_text(incident["title"])
    expect(entry.locator("svg")).to_have_count(0)
    standin.incident = answers.incident
    entry.locator("summary").click()
    lines = entry.locator(".course svg")
    expect(lines.first).to_have_attribute("aria-label", re.compile("^score: 0.* to 0.* points$"))
    expect(lines).to_have_count(1 + len(answers.incident(incident["id"])["points"]["features"]))
    assert (lines.first.bounding_box() or {})["width"] > 100
    folder = os.environ.get("VIGIL_SCREENSHOTS")
    if folder:
        panel = page.locator("section:has(#incidents)")
        panel.screenshot(path=Path(folder) / "console-incidents.png")
    # A change of the incident leaves it open.
    world.live(2, drift=True)
    standin.state = world.state()
    page.clock.run_for(10_000)
    rows = answers.incident(incident["id"])["rows"]
    expect(entry).to_contain_text(f"open, {rows:,} rows")
    expect(lines.first).to_be_visible()


def test_hostile_names_run_nothing(look: Open, tmp_path: Path) -> None:
    bundle = model(NAMES)
    world = World(tmp_path, bundle)
    world.at -= 60
    world.follow("1", bundle)
    world.live(10)
    world.live(30, drift=True)
    world.display.ledger = [promoted(world.at, "2", "1", HOSTILE, HOSTILE)]
    made = Standin(bundle, links={HOSTILE: 'https://x.example/"onmouseover=alert(1)'})
    with standing(made):
        made.state = world.state()
        page = look(made.url)
        expect(page.locator("#features li")).to_have_count(12)
        expect(page.locator("#timeline > li").first).to_contain_text(HOSTILE)
        assert HOSTILE in page.locator("#features .name").all_inner_texts()
        for button in page.locator("#latest button").all():
            button.focus()
        page.locator("summary").first.click()
        assert page.title() == "drift · Vigil"
        assert (
            page.locator("main img, main script, [onerror], [onload], [onmouseover]").count() == 0
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    world.watch.close()


def test_old_state_is_shown_as_old_and_a_restart_is_survived(
    standin: Standin, look: Open, world: World, tmp_path: Path
) -> None:
    page = look(standin.url, away=True)
    expect(page.locator("#age")).to_have_text("live")
    standin.go_away(12)
    page.clock.fast_forward(2500)
    expect(page.locator("#status-word")).to_have_text("stale", timeout=15_000)
    expect(page.locator("#news")).to_contain_text("the drift monitor does not answer")
    expect(page.locator("#age")).to_contain_text("no news for")
    chart = page.locator(".scores .chart")
    expect(chart).to_have_css("opacity", "0.5", timeout=15_000)  # it fades
    standin.stop()
    expect(page.locator("#status-word")).to_have_text("disconnected", timeout=15_000)
    expect(page.locator("#said")).to_contain_text("disconnected")
    other = World(tmp_path, world.bundle)
    other.follow("1", world.bundle)
    other.live(3)
    standin.state = other.state()
    standin.start()
    page.clock.fast_forward(4000)
    expect(page.locator("#status-word")).to_have_text("ok", timeout=20_000)
    other.watch.close()
    expect(page.locator("#features li")).to_have_count(0)
    expect(page.locator("#drift-empty-text")).to_contain_text(
        "the first verdict comes after 200 rows"
    )
    expect(page.locator("body")).not_to_have_class(re.compile("old"))


def test_nobody_is_asked_while_the_page_is_hidden(standin: Standin, look: Open) -> None:
    page = look(standin.url)
    expect(page.locator("#age")).to_have_text("live")
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(hide % "true")
    page.wait_for_load_state("networkidle")
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url))
    page.clock.fast_forward(60_000)
    page.evaluate("Promise.resolve()")
    assert polls == []
    with page.expect_request("**/console/state"):
        page.evaluate(hide % "false")


@pytest.fixture
def operated(
    bundle: ModelBundle, world: World, tmp_path: Path
) -> Iterator[tuple[Standin, dict[str, str]]]:
    """A service that asks for keys, with one of an operator and one of a client."""
    ring, registry = KeyRing(tmp_path / "keys.json"), Shelf()
    registry.alias = {"champion": "1", "previous": "3"}
    keys = {"ada": ring.new("ada", operator=True), "client": ring.new("client")}
    with standing(Standin(bundle, registry, auth="required", keys_file=ring.file)) as made:
        world.display.versions = [
            Version(v, "run", v * 64, world.at, (), {"verdict": "passed"}) for v in ("2", "1")
        ]
        made.state = world.state()
        yield made, keys


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_an_operator_signs_in_promotes_rolls_back_and_switches_the_mode(
    operated: Operated, look: Open
) -> None:
    standin, keys = operated
    page = look(standin.url)
    expect(page.locator("#tiles")).to_be_hidden()
    sign_in(page, keys["ada"])
    page.get_by_role("button", name="Promote…").click()
    dialog = page.locator("#dialog")
    expect(dialog.get_by_label("Version")).to_have_value("2")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert standin.registry.moves() == []
    page.get_by_role("button", name="Promote…").click()
    dialog.get_by_label("Reason").fill("it is better")
    dialog.get_by_role("button", name="Promote").click()
    expect(page.locator("#dialog-result")).to_have_text(
        "Version 2 is champion. All replicas serve it."
    )
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Roll back…").click()
    dialog.get_by_role("button", name="Roll back").click()
    expect(page.locator("#dialog-result")).to_contain_text("Version 1 is champion")
    dialog.get_by_role("button", name="Close").click()
    moves = [
        (m.kind, m.to, m.actor, m.reason) for m in standin.registry.moves() if m.actor == "ada"
    ]
    assert moves == [
        ("rollback", "1", "ada", "rolled back by hand"),
        ("promote", "2", "ada", "it is better"),
    ]
    page.get_by_role("button", name="Switch mode…").click()
    dialog.get_by_label("Mode").select_option("observe")
    dialog.get_by_role("button", name="Switch").click()
    expect(page.locator("#dialog-result")).to_have_text("The mode is observe.")
    assert standin.asked == [("switch", "observe")]
    dialog.get_by_role("button", name="Close").click()
    assert page.evaluate(
        "[localStorage.length, Object.keys(sessionStorage).join(), document.cookie]"
    ) == [0, "vigil-key", ""]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_client_may_look_and_not_act_and_a_wrong_key_shows_nothing(
    operated: Operated, look: Open
) -> None:
    standin, keys = operated
    page = look(standin.url, away=True)  # the browser reports the 401 of a wrong key
    sign_in(page, "vigil_wrong")
    expect(page.locator("#gate-hint")).to_contain_text("not accepted")
    expect(page.locator("#tiles")).to_be_hidden()
    sign_in(page, keys["client"])
    expect(page.locator("#tiles")).to_be_visible()
    for name in ("Promote…", "Roll back…", "Switch mode…"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()


PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}


@pytest.mark.parametrize(
    "options",
    [{}, PHONE, {"forced_colors": "active"}],
    ids=["light", "dark phone", "forced colours"],
)
def test_nothing_shuts_people_out_and_nothing_overflows(
    standin: Standin, look: Open, options: dict[str, Any]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = look(standin.url, bypass_csp=True, **options)  # axe is put into the page
    expect(page.locator("#timeline > li").first).to_be_visible()
    page.locator("#latest button").first.focus()
    found = Axe().run(page)
    serious = [v for v in found.response["violations"] if v["impact"] in ("serious", "critical")]
    assert serious == [], [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in serious]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#promote").click()
    expect(page.locator("#dialog")).to_be_visible()
    found = Axe().run(page, context="#dialog")
    assert [
        v["id"] for v in found.response["violations"] if v["impact"] in ("serious", "critical")
    ] == []


def test_the_theme_is_kept(standin: Standin, look: Open) -> None:
    page = look(standin.url, color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
