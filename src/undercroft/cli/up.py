"""``undercroft up``: the main job, then the system that serves it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.ask import answer_record
from undercroft.cli.main import State, print_json

if TYPE_CHECKING:
    from undercroft.jobs import Queued
    from undercroft.project import Project
    from undercroft.up import System


@click.command(
    epilog="Example:  undercroft up ~/handbook   or:  undercroft up https://docs.example.org"
)
@click.argument("target", required=False)
@click.option(
    "--once", is_flag=True, help="Serve, ask the smoke question, print the summary, stop."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.option("--no-console", is_flag=True, help="Serve the API only.")
@click.option(
    "--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a setting."
)
@click.pass_obj
def up(
    state: State,
    target: str | None,
    once: bool,
    as_json: bool,
    no_console: bool,
    changes: tuple[str, ...],
) -> None:
    """Turn documents into a served assistant that cites its sources.

    TARGET is a folder, a file or a URL; without one the project here is brought up. What is already
    done is not done again, so interrupting and repeating this command is always safe.
    """
    from undercroft.jobs import Queued, only_one
    from undercroft.project import Project, remember_root
    from undercroft.up import System, check_ports, find_target

    _apply(changes)
    signal.signal(signal.SIGTERM, _interrupt)
    project = Project.open(find_target(target)) if target else state.project()
    with only_one(project.state / "up.lock", f"The project {project.name}"):
        check_ports(project)
        remember_root(project.root)
        pid = project.state / "up.pid"
        pid.write_text(str(os.getpid()))
        runner, system = Queued(), System(project)
        try:
            summary = _make_and_serve(project, runner, system, as_json, not no_console)
            if once:
                summary["answer"] = _smoke_answer(project)
            _show(summary, as_json)
            if not once:
                _stay(system)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave orphans
            runner.close()
            system.stop()
            pid.unlink(missing_ok=True)


def _make_and_serve(
    project: Project, runner: Queued, system: System, as_json: bool, console: bool
) -> dict[str, Any]:
    """The main job, then its system up and answering; the summary of both."""
    from undercroft.cli.live import watcher_for
    from undercroft.loop import STAGES, MainJob

    with watcher_for(as_json, project) as watcher:
        job = MainJob(project, runner, watcher)
        job.run()
        runner.close()
        watcher.started("serve", len(STAGES) + 1)
        started = time.monotonic()
        urls = system.start(console)
        job.seconds["serve"] = round(time.monotonic() - started, 2)
        watcher.finished("serve", job.seconds["serve"], False)
    return {**job.summary(), "answer": None, "urls": urls}


def _smoke_answer(project: Project) -> dict[str, Any]:
    from undercroft.client import Gateway
    from undercroft.up import smoke_question

    question = smoke_question(project)
    return answer_record(question, Gateway(project).answer(question))


def _stay(system: System) -> None:
    try:
        system.watch()
    except KeyboardInterrupt:
        click.echo("\nStopping.", err=True)


def _apply(changes: tuple[str, ...]) -> None:
    """Settings from the command line, in a form that our child processes inherit."""
    from undercroft.config import ENV_PREFIX
    from undercroft.errors import BadConfig

    for change in changes:
        key, separator, value = change.partition("=")
        section, dot, name = key.partition(".")
        if not (separator and dot):
            raise BadConfig(
                f"--set {change!r} is not SECTION.KEY=VALUE.", do="Example: --set train.minutes=5"
            )
        os.environ[f"{ENV_PREFIX}{section.upper()}__{name.upper()}"] = value


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _show(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    from undercroft.cli.summary import print_summary

    print_summary(summary)
