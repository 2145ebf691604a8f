"""``undercroft doctor``."""

from __future__ import annotations

import sys

import click

from undercroft.cli.main import State, print_json


@click.command(epilog="Example:  undercroft doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def doctor(state: State, as_json: bool) -> None:
    """Check this machine and this project; each line that is not ok says what to do."""
    from undercroft.doctor import examine
    from undercroft.errors import NotFound

    try:
        project = state.project()
    except NotFound:
        project = None
    checks = examine(project)
    if as_json:
        print_json([{"check": c.name, "ok": c.ok, "is": c.found, "do": c.do} for c in checks])
    else:
        for check in checks:
            mark = click.style("ok  ", fg="green") if check.ok else click.style("look", fg="yellow")
            click.echo(f"{mark} {check.name:18} {check.found}")
            if not check.ok and check.do:
                click.echo(f"     {'':18} {check.do}")
    if not all(check.ok for check in checks):
        sys.exit(1)
