"""Home: what is served, what needs somebody, what just ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.client import Gateway, Serving
from undercroft.console.views import answers, documents, models, runs
from undercroft.monitor import Overview
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.trials import trial as trials

_LOOKED_AT = 60


@dataclass(frozen=True)
class Need:
    """Something a person should look at: what, why, and where to go or what to type."""

    what: str
    why: str
    href: str = ""
    command: str = ""
    urgent: bool = False


@dataclass(frozen=True)
class Home:
    title: str
    serving: Serving
    route: Artifact | None
    needs: Sequence[Need]
    recent: Sequence[runs.RunRow]
    today: Overview | None
    documents: tuple[int, int] | None

    @property
    def running(self) -> bool:
        return any(row.run.status == "running" for row in self.recent)


def read(project: Project) -> Home:
    """Everything on the home page."""
    latest = project.ledger.runs(limit=_LOOKED_AT)
    rows = [runs.with_progress(project, run) for run in latest]
    serving = Gateway(project).state()
    day = answers.today(project)
    return Home(
        title=project.title,
        serving=serving,
        route=models.serving_route(project),
        needs=[
            *_undecided(project),
            *_failed(rows),
            *_unserved(serving, bool(rows)),
            *_refused(project),
            *_unhappy(day),
        ],
        recent=sorted(rows, key=lambda row: row.run.status != "running")[:8],
        today=day,
        documents=documents.num_kept_and_removed(project),
    )


def _undecided(project: Project) -> list[Need]:
    """A rollout that waits for somebody, goes on, or was just taken back."""
    trial = trials.read(project.state)
    if trial is None or trial.status in ("promoted", "stopped"):
        return []
    kind = "A/B test" if trial.kind == "abtest" else "rollout"
    what = f"The {kind} of {trial.canary} is {trial.status}"
    return [Need(what, trial.reason, href="/rollout", urgent=trial.status == "rolled back")]


def _failed(rows: Sequence[runs.RunRow]) -> list[Need]:
    """Stages whose newest run failed; an older failure that was made good needs nobody."""
    newest: dict[str, runs.RunRow] = {}
    for row in rows:
        newest.setdefault(row.run.stage, row)
    return [
        Need(
            f"The stage {stage} failed",
            (row.run.error or "").strip().splitlines()[-1] if row.run.error else "",
            href=f"/runs/{row.run.id}",
            urgent=True,
        )
        for stage, row in newest.items()
        if row.run.status == "failed"
    ]


def _unserved(serving: Serving, begun: bool) -> list[Need]:
    if serving.healthy:
        return []
    if serving.url:
        return [Need("The gateway does not answer", serving.problem, command="undercroft status",
                     urgent=True)]  # fmt: skip
    why = "Nobody can ask the assistant until the gateway runs."
    return [Need("Nothing is being served", why, command="undercroft up")] if begun else []


def _refused(project: Project) -> list[Need]:
    """The newest release decision, where it was a no."""
    newest = project.ledger.decisions(kind="release", limit=1)
    if not newest or newest[0].verdict == "released":
        return []
    return [Need("The newest model was not released", newest[0].reason, href="/models")]


def _unhappy(day: Overview | None) -> list[Need]:
    if day is None or not day.thumbs_down:
        return []
    answers_word = "answer" if day.thumbs_down == 1 else "answers"
    return [
        Need(
            f"{day.thumbs_down} {answers_word} got a thumbs down today",
            "Read what was asked, what was said, and from which documents.",
            href="/answers?show=down",
        )
    ]
