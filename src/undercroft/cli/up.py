"""``undercroft up``: the main job, then the system that serves it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import click

from undercroft.cli.main import State, print_json


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
    from undercroft import up as system_of
    from undercroft.cli.live import watcher_for
    from undercroft.jobs import Queued, only_one
    from undercroft.loop import MainJob
    from undercroft.project import Project, remember_root

    _apply(changes)
    signal.signal(signal.SIGTERM, _interrupt)
    folder = system_of.find_target(target) if target else None
    project = Project.open(folder) if folder else state.project()
    with only_one(project.state / "up.lock", f"The project {project.name}"):
        system_of.check_ports(project)
        (project.state / "up.pid").write_text(str(os.getpid()))
        remember_root(project.root)
        runner = Queued()
        system = system_of.System(project)
        serving = False
        try:
            with watcher_for(as_json, project) as watcher:
                job = MainJob(project, runner, watcher)
                made = job.run()
                runner.close()
                watcher.started("serve", 11)
                started = time.monotonic()
                urls = system.start(console=not no_console)
                job.seconds["serve"] = round(time.monotonic() - started, 2)
                watcher.finished("serve", job.seconds["serve"], False)
            summary: dict[str, Any] = {**job.summary(), "answer": None, "urls": urls}
            if once:
                question = system_of.smoke_question(project, project.path(made["suite"]))
                answer = system_of.collect_answer(system_of.ask(project, question))
                summary["answer"] = {"question": question, **answer}
            _show(summary, as_json)
            serving = True
            if not once:
                system.watch()
        except KeyboardInterrupt:
            if not serving:
                raise
            click.echo("\nStopping.", err=True)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave orphans
            runner.close()
            system.stop()
            (project.state / "up.pid").unlink(missing_ok=True)


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
