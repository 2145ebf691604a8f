"""The page of a rollout as the server makes it: where it is, what is said, which buttons it has."""

from __future__ import annotations

import re

import pytest

from undercroft.console.pages.rollout import PAGE
from undercroft.errors import BadInput
from undercroft.ledger import MadeArtifact
from undercroft.project import Project
from undercroft.records import Footprint
from undercroft.release import rollout
from undercroft.settings import RolloutSettings


@pytest.fixture
def released(empty: Project) -> Project:
    """Three routes of which the second is live; each serves something else."""
    for number in (1, 2, 3):
        run = empty.ledger.begin_run("test", f"route-{number}", {}, [])
        meta = {"model": f"model:docs@{number}", "released": True}
        made = MadeArtifact("route", empty.name, f"route-{number}", "none:", 0, meta)
        route = empty.ledger.finish_run(run.id, [made], Footprint())[0]
        if number < 3:
            empty.ledger.set_alias(route.ref, "live", "test")
            empty.ledger.decide("release", str(route.ref), "released", "Good.", {}, "test")
    return empty


def shown(project: Project) -> str:
    return "".join(PAGE.render(PAGE.load(project, None)))


def buttons(project: Project) -> dict[str, tuple[str, str]]:
    """The words of every button that does something: which act it is, and its value."""
    found = re.findall(
        r'<button[^>]*data-act="(\w+)" data-value="([^"]*)"[^>]*>([^<]+)<', shown(project)
    )
    return {word: (name, value) for name, value, word in found}


def press(project: Project, word: str) -> None:
    name, value = buttons(project)[word]
    PAGE.acts[name](project, "ada", value)


def test_without_a_rollout_one_button_goes_back_and_one_rolls_the_newest_out(released) -> None:
    name = released.name
    assert buttons(released) == {
        f"Go back to route:{name}@1": ("undo", ""),
        f"Roll route:{name}@3 out": ("start", f"route:{name}@3"),
    }
    press(released, f"Go back to route:{name}@1")
    assert str(released.ledger.artifact(f"route:{name}@live").ref) == f"route:{name}@1"
    newest = released.ledger.decisions(kind="rollback", limit=1)[0]
    assert (newest.subject, newest.actor) == (f"route:{name}@2", "ada")
    assert f"Go back to route:{name}@1" not in buttons(released)


def test_a_rollout_is_begun_promoted_and_undone_by_buttons(released) -> None:
    name = released.name
    press(released, f"Roll route:{name}@3 out")
    assert set(buttons(released)) == {"Undo it now", "Promote it"}
    page = shown(released)
    assert 'aria-current="step">5%' in page
    assert "0 of 50 pairs" in page
    assert "No gateway runs here" in page
    with pytest.raises(BadInput):
        PAGE.acts["start"](released, "ada", f"route:{name}@3")
    press(released, "Promote it")
    assert 'aria-current="step">Everybody' in shown(released)
    press(released, f"Go back to route:{name}@2")
    assert str(released.ledger.artifact(f"route:{name}@live").ref) == f"route:{name}@2"


def test_where_approval_is_asked_for_there_is_no_button_that_goes_round_it(released) -> None:
    settings = RolloutSettings(approval=True, shadow_requests=5)
    rollout.start(released, f"route:{released.name}@3", settings=settings)
    assert set(buttons(released)) == {"Undo it now"}
    page = shown(released)
    assert '<form class="actions" data-act="promote">' in page
    assert 'aria-current="step">Unseen' in page


def test_an_experiment_is_called_one(released) -> None:
    rollout.start(released, f"route:{released.name}@3", kind="abtest")
    page = shown(released)
    assert "<h1>A/B test</h1>" in page
    assert 'class="steps"' not in page
    assert "until somebody ends it" in page
