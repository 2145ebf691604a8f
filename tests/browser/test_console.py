"""The console as people meet it."""

from __future__ import annotations

import re
import time

import pytest

from tests.console.sample import NAME
from undercroft.console.views import answers, documents, runs

PLACES = {
    "Answers": "Answers",
    "Documents": "Documents",
    "Models": "Models",
    "Rollout": "Rollout",
    "Runs": "Runs",
    "Lineage": "Lineage",
    "Home": "The Python documentation",
}
GROUND = "getComputedStyle(document.body).backgroundColor"
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def addresses(project) -> list[str]:
    """One of every kind of page."""
    answer = answers.listed(project).answers.rows[0].id
    removed = documents.listed(project, state="removed").documents.rows[0].id
    failed = runs.listed(project, status="failed").runs.rows[0].run.id
    trained = next(r.run for r in runs.listed(project).runs.rows if r.run.stage == "train")
    return [
        "/", "/chat", "/answers", "/documents?q=hard", "/models", "/rollout", "/runs", "/lineage",
        f"/answers/{answer}", f"/documents/{removed}", f"/artifacts/scorecard:{NAME}",
        f"/runs/{trained.id}", f"/runs/{failed}", f"/lineage/answer:{answer}",
    ]  # fmt: skip


def test_every_place_is_one_click_away_and_has_its_own_address(tab):
    tab.open("/")
    for place, title in PLACES.items():
        tab.click(f".nav a:text-is('{place}')")
        assert tab.title == title
        assert tab.page.get_attribute(f".nav a:text-is('{place}')", "aria-current") == "page"
        address = tab.page.evaluate("location.pathname")
        tab.open(address)
        assert tab.title == title


def test_moving_between_pages_loads_nothing_again(tab):
    tab.open("/")
    tab.page.evaluate("window.stayed = true")
    for place in ("Documents", "Runs", "Models"):
        tab.click(f".nav a:text-is('{place}')")
    assert tab.page.evaluate("window.stayed")
    tab.page.go_back()
    tab.page.wait_for_function("() => document.querySelector('main h1').innerText === 'Runs'")
    assert tab.page.evaluate("location.pathname") == "/runs"


@pytest.mark.parametrize("width", [380, 1280])
def test_no_page_is_wider_than_its_window(tab, addresses, width):
    tab.page.set_viewport_size({"width": width, "height": 800})
    for address in addresses:
        tab.open(address)
        assert tab.page.evaluate(OVERFLOW) <= 0, address


def test_dark_follows_the_system_and_the_switch_overrides_it(tab):
    tab.open("/")
    light = tab.page.evaluate(GROUND)
    tab.page.emulate_media(color_scheme="dark")
    dark = tab.page.evaluate(GROUND)
    assert dark != light
    tab.page.click("button:text-is('Light')")
    assert tab.page.evaluate(GROUND) == light
    tab.open("/runs")
    assert tab.page.evaluate(GROUND) == light
    tab.page.emulate_media(color_scheme="light")
    tab.page.click("button:text-is('Dark')")
    assert tab.page.evaluate(GROUND) == dark
    tab.page.click("button:text-is('System')")
    assert tab.page.evaluate(GROUND) == light


def test_documents_are_paged_filtered_and_searched_by_address(tab):
    tab.open("/documents")
    assert tab.page.inner_text(".pager span").endswith("of 1\u202f500 documents")
    first = tab.page.inner_text("tbody tr:first-child .row")
    tab.click(".pager a:text-is('Next')")
    assert "page=2" in tab.page.url
    assert tab.page.inner_text("tbody tr:first-child .row") != first
    tab.click(".choices a:has-text('exact duplicate')")
    assert "page" not in tab.page.url
    assert set(tab.page.locator(".badge").all_inner_texts()) == {"Removed"}
    tab.page.fill("input[type=search]", "topic/if")
    tab.page.press("input[type=search]", "Enter")
    tab.page.wait_for_url(re.compile("q=topic"))
    tab.page.wait_for_function("() => !document.querySelector('main[aria-busy]')")
    assert tab.page.input_value("input[type=search]") == "topic/if"
    tab.page.reload()
    tab.page.wait_for_selector("main h1")
    assert tab.page.input_value("input[type=search]") == "topic/if"


def test_a_removed_document_says_which_rule_removed_it(tab):
    tab.open("/documents?state=removed&rule=min_chars")
    tab.click("tbody tr:first-child .row")
    assert "Removed by the rule min chars" in tab.page.inner_text("main")
    assert "< 80" in tab.page.inner_text("main")


def test_an_answer_leads_to_its_sources_and_its_lineage_leads_on(tab):
    tab.open("/answers?page=2")
    tab.click("tbody tr:nth-child(2) .row")
    tab.page.click(".prose .cite")
    assert tab.page.url.endswith("#source-1")
    tab.click("#source-1 header a:not(.cite)")
    assert tab.page.locator("mark").count() == 1
    tab.page.go_back()
    tab.page.wait_for_selector("a:text-is('Back to the documents')")
    tab.click("a:text-is('Back to the documents')")
    tab.click(f"svg a[href='/artifacts/raw:{NAME}@5']")
    assert tab.title == f"raw:{NAME}@5"


def test_a_running_stage_moves_by_itself(tab, project):
    run = project.ledger.begin_run("index", f"live-{time.time_ns()}", {}, [])
    project.ledger.report_progress(run.id, 10, 40, "documents", "cutting")
    tab.open(f"/runs/{run.id}")
    assert "10 of 40 documents" in tab.page.inner_text("main")
    for step in (1, 2, 3):
        project.ledger.log_event(run.id, "metric", {"step": step, "loss": 3.0 / step})
    project.ledger.report_progress(run.id, 30, 40, "documents", "cutting")
    tab.page.wait_for_selector("text=30 of 40 documents", timeout=6000)
    assert tab.page.locator(".plot path").count() == 2
    project.ledger.fail_run(run.id, "Stopped by the test.", run.footprint, "cancelled")
    tab.page.wait_for_selector("text=Stopped by the test.", timeout=6000)


def test_a_chart_tells_the_value_under_the_pointer(tab, addresses):
    tab.open(addresses[11])
    box = tab.page.locator(".plot").first.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    assert re.fullmatch(r"step \d+: [\d.]+", tab.page.inner_text(".plot .cursor b"))


def test_everything_can_be_reached_with_the_keyboard(tab):
    tab.open("/runs")
    reached = []
    for _ in range(24):
        tab.page.keyboard.press("Tab")
        reached.append(tab.page.evaluate("document.activeElement.textContent.trim()"))
        ring = tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring == "solid", reached[-1]
    assert {"Home", "Runs", "Dark", "Failed", "release"} <= set(reached)


def test_a_missing_page_says_so_and_leads_home(browser, console):
    page = browser.new_page()
    reply = page.goto(f"{console}/runs/no-such-run")
    page.wait_for_selector("main h1")
    assert reply.status == 404
    assert "no-such-run" in page.inner_text("main")
    page.click("main a:text-is('Home')")
    page.wait_for_selector("h1:text-is('The Python documentation')")
    page.close()


def test_hostile_titles_and_questions_stay_text(tab, project):
    oldest = answers.listed(project, 4).answers.rows[-1].id
    for address in ("/documents?q=hard/hostile", f"/answers/{oldest}"):
        tab.open(address)
        assert "<script>" in tab.page.inner_text("main")
        assert tab.page.evaluate("document.title") != "taken"


def test_a_page_that_refreshes_itself_keeps_the_keyboards_place(tab, project):
    run = project.ledger.begin_run("curate", f"focus-{time.time_ns()}", {}, [])
    project.ledger.report_progress(run.id, 1, 9, "documents", "")
    tab.open("/runs")
    focused = "document.activeElement.getAttribute('href')"
    tab.page.focus(f"main a[href='/runs/{run.id}']")
    project.ledger.report_progress(run.id, 5, 9, "documents", "")
    tab.page.wait_for_selector("td:has-text('55.6 %')", timeout=8000)
    assert tab.page.evaluate(focused) == f"/runs/{run.id}"
    project.ledger.fail_run(run.id, "Stopped by the test.", run.footprint, "cancelled")
