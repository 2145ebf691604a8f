"""``undercroft watch``: keep dataset and index as the sources are."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.main import State
from undercroft.cli.numbers import Finite

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.records import Progress
    from undercroft.watch import Event, Watch


@click.command(epilog="Example:  undercroft watch ~/handbook --every 60")
@click.argument("target", required=False)
@click.option(
    "--every", "interval_s", type=Finite(min=0.1), default=60.0, show_default=True,
    help="Seconds between two looks at the sources; changes in folders are seen at once, sites "
    "looked at by collect.refresh_hours.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Look once, catch up, and stop.")
@click.option(
    "--retrain", is_flag=True,
    help="Make, judge and serve a new model when the data has drifted (release.retrain_at_drift).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each event.")
@click.pass_obj
def watch(
    state: State,
    target: str | None,
    *,
    interval_s: float,
    once: bool,
    retrain: bool,
    as_json: bool,
) -> None:
    """Take in what is new, changed or gone in the sources, for as long as it runs.

    TARGET is a folder, a file or a URL; without one, the project here. New documents reach the
    dataset and the index. A new model is made and judged with --retrain, or by `undercroft up`,
    which is suggested when the data has moved away from what is served.
    """
    import undercroft.loop  # declares every stage
    from undercroft.jobs import Queued, only_one
    from undercroft.project import Project
    from undercroft.up import find_target
    from undercroft.watch import Watch

    project = Project.open(find_target(target)) if target else state.project()
    says = _Says(project, as_json, once)
    with only_one(project.state / "watch.lock", f"A watch over {project.name}"):
        (project.state / "watch.pid").write_text(str(os.getpid()))
        runner = Queued()
        job = undercroft.loop.MainJob(project, runner, _Quiet())
        watching = Watch(
            project,
            runner,
            says,
            interval_s,
            retrain=(lambda: job.run()["route"]) if retrain else None,
        )
        says.watch = watching
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: watching.stop())
        try:
            watching.run(once=once)
        finally:
            runner.close()
            (project.state / "watch.pid").unlink(missing_ok=True)
    if says.failed and once:
        raise says.failed


class _Quiet:
    """Sees the main job go and says nothing: the watch tells what comes of it."""

    def started(self, stage: str, number: int) -> None: ...
    def progressed(self, stage: str, progress: Progress | None) -> None: ...
    def finished(self, stage: str, seconds: float, reused: bool) -> None: ...


class _Says:
    """Prints what happens, and after every new dataset how far it is from what is served."""

    def __init__(self, project: Project, as_json: bool, once: bool) -> None:
        self._project, self._as_json, self._once = project, as_json, once
        self._lock = threading.Lock()
        self.watch: Watch | None = None
        self.failed: Any = None

    def __call__(self, event: Event) -> None:
        with self._lock:
            self.failed = event.error or self.failed
            if self._as_json:
                click.echo(json.dumps(self._record(event)))
                return
            click.echo(f"{time.strftime('%H:%M:%S')}  {self._line(event)}")
            if event.step == "curate" and event.artifact is not None:
                self._show_drift()

    def _line(self, event: Event) -> str:
        if event.error is not None:
            again = "" if self._once else f" (again in {event.next_try_s:g} s)"
            return f"{event.step}: {event.error.what} {event.error.why}{again}"
        assert event.artifact is not None
        meta = event.artifact.meta
        counts = ", ".join(
            f"{meta[name]:,} {name}" for name in ("collected", "kept", "chunks") if name in meta
        )
        if "released" in meta:
            counts = "released" if meta["released"] else f"not released: {meta['reason']}"
        refused = sum(meta.get("rejected", {}).values())
        counts += f", {refused:,} refused" if refused else ""
        return f"{event.artifact.ref}  {counts}  {event.seconds:g} s"

    def _record(self, event: Event) -> dict[str, Any]:
        found: dict[str, Any] = {"step": event.step, "seconds": event.seconds}
        if event.error is not None:
            again_s = None if self._once else event.next_try_s
            return {**found, "error": event.error.what, "next_try_s": again_s}
        assert event.artifact is not None
        found |= {"artifact": str(event.artifact.ref), "digest": event.artifact.digest}
        if event.step == "curate" and self.watch is not None:
            sources = self.watch.drift()
            found["sources"] = [
                {"source": s.source, "documents": s.documents, "age_s": round(s.age_s, 1),
                 "added": s.added, "edited": s.edited, "gone": s.gone, "drift": round(s.drift, 4)}
                for s in sources
            ]  # fmt: skip
        return found

    def _show_drift(self) -> None:
        from undercroft.versions.freshness import drift_of

        assert self.watch is not None
        sources = self.watch.drift()
        for each in sources:
            if each.added or each.edited or each.gone:
                click.echo(
                    f"          {each.source}: {each.added:,} added, {each.edited:,} edited, "
                    f"{each.gone:,} gone since what is served; drift {each.drift:.0%}"
                )
        if drift_of(sources) > self._project.settings.release.retrain_at_drift:
            do = (
                "A new model is made and judged."
                if self.watch.retrain
                else ("Make and judge a new model with: undercroft up")
            )
            click.echo(f"          {do}")
