"""``undercroft worker``."""

from __future__ import annotations

import os
import signal
import threading

import click

from undercroft.cli.main import State


@click.command(epilog="Example:  undercroft worker --stage train")
@click.option("--stage", "stages", multiple=True, help="Work on this queue only; may be repeated.")
@click.pass_obj
def worker(state: State, stages: tuple[str, ...]) -> None:
    """Carry out queued stages in this process until it is stopped.

    Any number may run, here or (with Postgres and an object store) on other machines. What a
    killed worker left behind is taken up by the next one that starts.
    """
    import undercroft.collect.preferences
    import undercroft.loop
    import undercroft.train.align
    import undercroft.train.distil
    import undercroft.train.pretrain  # noqa: F401  (all of them declare stages)
    from undercroft.jobs import announcement, work
    from undercroft.processes import announce, end_with_parent

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    end_with_parent()
    project = state.project()

    def ready() -> None:
        announce(announcement(project, os.getpid()))
        click.echo(f"working on {', '.join(stages) or 'every queue'} of {project.name}")

    work(project, stop, ready, stages)
