"""Rollout: a new route beside the live one, watched as it goes, and undone by one button."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from undercroft.console import figures
from undercroft.console.components import charts
from undercroft.console.components.decisions import decision_list
from undercroft.console.components.frame import head, section
from undercroft.console.components.parts import act, badge, command, empty, facts, when
from undercroft.console.components.tables import Column, table
from undercroft.console.markup import Child, Markup, h, join
from undercroft.console.router import Page
from undercroft.console.views import rollout
from undercroft.console.views.rollout import RolloutPage
from undercroft.project import Project
from undercroft.release import rollout as release
from undercroft.trials import words
from undercroft.trials.progress import Progress
from undercroft.trials.tally import RATES

_REFRESH_S = 1.0
_REFRESH_IDLE_S = 5.0
_TONES = {"running": "live", "held": "warn", "promoted": "good", "rolled back": "bad"}
_VERDICTS = {"harm": "bad", "worse": "warn", "better": "good", "no worse": "good"}
_REASON = "Asked for in the console."
_UNEVEN = 0.05

Standing = Mapping[str, Any]


def render(data: RolloutPage) -> list[Markup]:
    """The sections of the page; the buttons' changes seldom, so that it can be pressed."""
    trial, at = data.trial, data.at
    if trial is None or at is None:
        lead = "A new route meets a share of the traffic; harm takes it back, proof promotes it."
        none = empty("There was no rollout yet.", "undercroft release start")
        return [head("Rollout", lead), none, *_by_hand(data), *_decided(data)]
    is_test = trial["kind"] == "abtest"
    status = str(trial["status"])
    lead = f"{trial['canary']} beside {trial['control']}. {trial['reason']}"
    beside = badge(status.capitalize(), _TONES.get(status, ""))
    title = "A/B test" if is_test else "Rollout"
    return [
        head(title, lead, (("/models", "Models"),), beside),
        *_by_hand(data),
        h("div", None if is_test else _steps(trial, at), _facts(data, at), class_="card section"),
        *_measures(trial),
        *_charts(data),
        *_decided(data),
    ]


def _steps(trial: Mapping[str, Any], at: Progress) -> Markup:
    """The way from unseen to everybody, and where on it the new route is."""
    settings = trial["settings"]
    names = [f"{share:.0%}" for share in settings["steps"]] + ["Everybody"]
    here = len(names) if trial["status"] == "promoted" else at.step
    if settings["shadow_requests"]:
        names.insert(0, "Unseen")
    else:
        here -= 1
    is_over = trial["status"] in ("rolled back", "stopped")
    items = [
        h(
            "li",
            name,
            class_="done" if number < here else None,
            aria_current="step" if number == here and not is_over else None,
        )
        for number, name in enumerate(names)
    ]
    return h("ol", items, class_="steps over" if is_over else "steps", aria_label="Steps")


def _facts(data: RolloutPage, at: Progress) -> Markup:
    trial = data.trial
    assert trial is not None
    units = trial["units"]
    rows: list[tuple[str, Child]] = [
        ("Canary", h("a", trial["canary"], href=f"/artifacts/{trial['canary']}")),
        ("Control", h("a", trial["control"], href=f"/artifacts/{trial['control']}")),
        ("Share of each", f"{trial['share']:.0%} of the traffic"),
        ("Units", " against ".join(figures.count(n) for n in units.values()) or "none yet"),
        ("Shadow requests", figures.count(trial["shadows"]) if trial["shadows"] else None),
        ("Arms", _evenness(at) if units else None),
        ("Begun", join(when(data.started_at), f" by {trial['started_by']}")),
        ("Ended by", str(trial["by"]) if not at.is_open else None),
        ("Waits for", _waiting(at) if at.is_open else None),
        ("Undecided", f"{trial['settings']['undecided']} in {figures.seconds(at.deadline_s)}"
         if at.is_open and trial["kind"] == "rollout" and at.deadline_s > 0 else None),
    ]  # fmt: skip
    return facts(rows, wide=True)


def _evenness(at: Progress) -> str:
    if at.even >= _UNEVEN:
        return "fill evenly"
    return f"so uneven by chance with a probability of {at.even:.1g} at most"


def _waiting(at: Progress) -> str:
    pace = f" About {figures.seconds(at.pairs_s)} at this pace." if at.pairs_s else ""
    return f"{at.waits_for}{pace}" if at.waits_for else "the next look, within a second"


def _by_hand(data: RolloutPage) -> list[Markup]:
    """The buttons: undo it, promote it; else go back to the route before, or roll the next out."""
    if data.is_open:
        return [_ending(data), *_approval(data)]
    buttons = []
    if data.live is not None and data.back is not None:
        question = f"Serve {data.back.ref} again in place of {data.live.ref}?"
        buttons.append(act(f"Go back to {data.back.ref}", "undo", question, tone="danger"))
    if data.next is not None:
        question = f"Let {data.next.ref} meet a share of the traffic?"
        word = f"Roll {data.next.ref} out"
        buttons.append(act(word, "start", question, str(data.next.ref)))
    if not buttons or data.live is None:
        return []
    serving = h("span", "Live is ", h("a", str(data.live.ref), href=f"/artifacts/{data.live.ref}"))
    return [h("div", buttons, serving, class_="actions")]


def _ending(data: RolloutPage) -> Markup:
    trial = data.trial
    assert trial is not None
    buttons = [
        act("Undo it now", "undo", "Take the new route out of the traffic?", tone="danger"),
        None
        if trial["settings"]["approval"]
        else act("Promote it", "promote", "Serve the new route to everybody?"),
    ]
    silent = None
    if not data.is_counted:
        silent = badge("No gateway runs here: nothing is counted", "warn")
    return h("div", buttons, command("undercroft release rollback"), silent, class_="actions")


def _approval(data: RolloutPage) -> list[Markup]:
    trial = data.trial
    assert trial is not None
    if not trial["settings"]["approval"]:
        return []
    form = h(
        "form",
        h("label", "Key of an admin who did not start it", for_="approval"),
        h("input", id="approval", type="password", class_="field", required=True,
          autocomplete="off"),
        h("button", "Approve and promote", class_="button primary"),
        class_="actions",
        data_act="promote",
    )  # fmt: skip
    return [form]


def _measures(trial: Mapping[str, Any]) -> list[Markup]:
    if not trial["standings"]:
        return []
    explained = h(
        "p",
        "Differences are the canary's. Bounds and evidence hold however often they are looked at; "
        "at 100 % of the evidence of harm that is needed it is taken back.",
        class_="note",
    )
    rows = table(_columns(trial["settings"]), trial["standings"], "Measures")
    return [section("Measures", rows, explained)]


def _columns(settings: Mapping[str, Any]) -> tuple[Column[Standing], ...]:
    def measure(each: Standing) -> Markup:
        under = h("span", words.meaning(each["measure"], settings), class_="under optional")
        return join(h("b", each["measure"].capitalize()), under)

    def verdict(each: Standing) -> Markup:
        word = words.standing(each)
        return badge(word.capitalize(), _VERDICTS.get(word, ""))

    return (
        Column("Measure", measure),
        Column("Control", lambda each: words.value(each, "control"), "number"),
        Column("Canary", lambda each: words.value(each, "canary"), "number"),
        Column("Surely", words.between, "optional number"),
        Column(
            "Evidence of harm",
            lambda each: _evidence(words.harm(each, settings)),
            "optional number",
        ),
        Column("Verdict", verdict),
    )


def _evidence(share: float) -> Markup:
    bar = h("i", style=f"width:{min(share, 1) * 100:.0f}%")
    return join(h("span", bar, class_="meter", aria_hidden="true"), f"{share:.0%}")


def _charts(data: RolloutPage) -> list[Markup]:
    trial = data.trial
    assert trial is not None
    drawn = [chart for each in trial["standings"] if (chart := _chart(data, each))]
    if not drawn:
        return []
    title = "Canary against control"
    note = h(
        "p",
        "The line is what was measured, the band where it surely is; dashed: no difference; red: "
        "the most that promotion allows.",
        class_="note",
    )
    return [section(title, h("div", h("div", drawn, class_="charts bands"), class_="card"), note)]


def _chart(data: RolloutPage, each: Standing) -> Markup | None:
    assert data.trial is not None
    settings = data.trial["settings"]
    points = data.curve(each["measure"])
    if len(points) < 2 or not words.is_measured(each):
        return None
    is_rate = each["measure"] in RATES
    limit = settings["promote_margin"] * 100 if is_rate else 1 + settings["tolerance"]
    return charts.band(
        each["measure"].capitalize(), points, unit="points" if is_rate else "times",
        level=0.0 if is_rate else 1.0, limit=limit, word="pair",
    )  # fmt: skip


def _decided(data: RolloutPage) -> Sequence[Markup]:
    return [section("Decisions", decision_list(data.decisions))] if data.decisions else []


def _undo(project: Project, who: str, _value: str) -> None:
    release.undo(project, who, _REASON)


def _promote(project: Project, who: str, value: str) -> None:
    release.promote(project, who, _REASON, value)


def _start(project: Project, who: str, value: str) -> None:
    release.start(project, value, who)


PAGE = Page(
    pattern="/rollout",
    title=lambda _: "Rollout",
    load=lambda project, _: rollout.current(project),
    render=render,
    refresh_s=lambda data: _REFRESH_S if data.is_open else _REFRESH_IDLE_S,
    acts={"undo": _undo, "promote": _promote, "start": _start},
)
