"""``undercroft serve restart``: engines anew, one after another, while the others answer."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import click

from undercroft.cli.bar import bar
from undercroft.cli.main import State, print_json

LOOK_S = 0.1
BEGINS_WITHIN_S = 15.0


@click.command(
    epilog="Example:  undercroft serve restart    with:  undercroft serve restart --json"
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def restart(state: State, as_json: bool) -> None:
    """Start the running gateway's engines again, one after another; no request fails.

    They take up the present [engine], [model] and [serve] slots and threads of undercroft.toml, and
    the present secrets. A setting that an engine cannot run with leaves the engine that runs.
    """
    from undercroft.errors import EngineFailed, NotFound
    from undercroft.processes import GATEWAY, read_announcement

    project = state.project()
    gateway = read_announcement(project.state / GATEWAY.announcement)
    if gateway is None:
        raise NotFound(f"No gateway of {project.name} runs here.", do="Start one: undercroft serve")
    began = time.time()
    os.kill(gateway["pid"], signal.SIGHUP)
    found = _followed(state, gateway["pid"], began, as_json)
    if found["state"] == "failed":
        raise EngineFailed(
            "The engines were not all started again.", found["error"], "What ran goes on running."
        )
    if as_json:
        print_json({"replicas": found["done"], "seconds": round(time.time() - began, 2)})
        return
    click.echo(f"{found['done']} replicas were started again in {time.time() - began:.1f} s.")


def _followed(state: State, pid: int, began: float, quiet: bool) -> dict[str, Any]:
    """What the gateway told in the end. Raises `EngineFailed` when it does not begin, or dies."""
    from undercroft.errors import EngineFailed
    from undercroft.serve.pools import renewal

    folder = state.project().state
    with bar("engines", quiet) as tell:
        while True:
            found = renewal.report_of(folder, began)
            if found is not None:
                tell(found["done"], found["total"])
                if found["state"] != "running":
                    return found
            is_late = found is None and time.time() - began > BEGINS_WITHIN_S
            if is_late or not renewal.is_alive(pid):
                raise EngineFailed(
                    "The gateway did not start its engines again.",
                    "It is at it already, or it has ended.",
                    "See its log in .undercroft/logs.",
                )
            time.sleep(LOOK_S)
