"""``undercroft audit``."""

from __future__ import annotations

from dataclasses import asdict

import click

from undercroft.cli.main import State, print_json


@click.group(epilog="Example:  undercroft audit verify")
def audit() -> None:
    """Read the append-only audit log, and find out whether anybody changed it."""


@audit.command(epilog="Example:  undercroft audit verify --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def verify(state: State, as_json: bool) -> None:
    """Check every entry, the chain and its signed head; exits with 10 on tampering."""
    report = state.project().trust.audit.verify()
    if as_json:
        print_json(asdict(report))
        return
    click.echo(f"ok: {report.entries} entries, the chain is whole and its head is signed")


@audit.command("ls", epilog="Example:  undercroft audit ls --limit 20")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Newest first."
)
@click.option("--offset", type=click.IntRange(0), default=0, help="Entries passed over.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def entries(state: State, limit: int, offset: int, as_json: bool) -> None:
    """List who did what to what, the newest first."""
    found = state.project().trust.audit.entries(limit, offset)
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    for entry in found:
        click.echo(
            f"{entry.seq:6} {entry.at:%Y-%m-%d %H:%M:%S}  "
            f"{entry.actor:10} {entry.action:16} {entry.target}"
        )
