"""A rollout is watched as it goes, and undone by one button."""

from __future__ import annotations

import os
import random
from dataclasses import asdict

from undercroft.records import Artifact
from undercroft.release import rollout
from undercroft.settings import RolloutSettings
from undercroft.trials import trial as trials
from undercroft.trials.assignment import CANARY, CONTROL
from undercroft.trials.tally import Outcome, Tally
from undercroft.trials.verdict import standing

SETTINGS = RolloutSettings()


def counted(pairs: int) -> dict:
    """What a gateway would have written after ``pairs``: the canary is slower and masks more."""
    draw = random.Random(5)
    tally, curve = Tally(), []
    for number in range(pairs):
        for arm, slower in ((CANARY, 1.2), (CONTROL, 1.0)):
            outcome = Outcome(
                draw.random() < 0.02, draw.random() < 0.05 * slower**3, draw.random() < 0.1,
                draw.lognormvariate(0, 0.5) * slower, draw.lognormvariate(-7, 0.4),
            )  # fmt: skip
            tally.add(arm, f"{arm}{number}", outcome)
        if number % 10 == 9:
            standings = [asdict(each) for each in standing(tally, SETTINGS)]
            curve.append({"at": 0.0, "pairs": tally.pairs, "standings": standings})
    return {"tally": tally.state(), "curve": curve}


def another_route(project) -> Artifact:
    """A route as the live one, but newer."""
    from undercroft.ledger import MadeArtifact
    from undercroft.records import Footprint

    live = project.ledger.artifact(f"route:{project.name}@live")
    run = project.ledger.begin_run("test", "another-route", {}, [])
    made = MadeArtifact("route", project.name, "another-route", "none:", 0, live.meta)
    return project.ledger.finish_run(run.id, [made], Footprint())[0]


def test_it_is_watched_live_and_undone_by_one_button(tab, project) -> None:
    newer = another_route(project)
    trial = rollout.start(project, str(newer.ref))
    trials.write_tally(project.state, counted(40))
    tab.open("/rollout")
    assert tab.page.inner_text("main .badge") == "Running"
    assert tab.page.locator("tbody tr").count() == 6
    assert tab.page.inner_text("[aria-current=step]") == "5%"
    assert "40 of 50 pairs" in tab.page.inner_text("main")
    trials.write_tally(project.state, counted(400))
    tab.page.wait_for_function(
        "() => document.querySelector('main').innerText.includes('400 against')"
    )
    if place := os.environ.get("UNDERCROFT_SCREENSHOTS"):
        tab.page.screenshot(path=f"{place}/rollout.png", full_page=True)
    tab.page.once("dialog", lambda dialog: dialog.dismiss())
    tab.page.click("text=Undo it now")
    assert trials.read(project.state) == trials.change(project.state, lambda found: found)
    tab.page.once("dialog", lambda dialog: dialog.accept())
    tab.page.click("text=Undo it now")
    tab.page.wait_for_function(
        "() => document.querySelector('main .badge').innerText == 'Rolled back'"
    )
    ended = trials.read(project.state)
    assert ended is not None
    assert (ended.id, ended.status, ended.by) == (trial.id, "rolled back", "console")
    tab.page.wait_for_selector(f"text=Roll {newer.ref} out")


def test_a_second_admin_approves_in_the_console(tab, project) -> None:
    """What is in the way is said, and stands until something else is done."""
    _, key = project.trust.keys.create("grace", "admin")
    before, newer = project.ledger.artifact(f"route:{project.name}@live"), another_route(project)
    rollout.start(project, str(newer.ref), settings=RolloutSettings(approval=True))
    tab.open("/rollout")
    assert tab.page.locator("text=Promote it").count() == 0
    for given, seen in (("uc-wrong", "text=This rollout needs approval."), (key, "text=Promoted")):
        tab.page.fill("[type=password]", given)
        tab.page.press("[type=password]", "Enter")
        tab.page.wait_for_selector(f"main >> {seen}")
    assert trials.read(project.state).by == "grace"
    assert tab.page.locator("[role=alert]").count() == 0
    project.ledger.set_alias(before.ref, "live", "test")
