"""``undercroft consent``: whose exchanges may be learnt from."""

from __future__ import annotations

from dataclasses import asdict

import click

from undercroft.cli.main import State, print_json

reason_option = click.option(
    "--reason", default="asked for by hand", show_default=True, help="Kept for ever."
)


@click.group(epilog="Example:  undercroft consent withdraw ada --reason 'letter of 3 May'")
def consent() -> None:
    """Record what people decide about learning from their exchanges.

    An exchange is learnt from when its request said `"store": true`. Who withdraws takes back
    everything they ever gave: the next collection drops it.
    """


@consent.command(epilog="Example:  undercroft consent withdraw ada --reason 'letter of 3 May'")
@click.argument("user")
@reason_option
@click.pass_obj
def withdraw(state: State, user: str, reason: str) -> None:
    """Learn from nothing that USER ever sent; the `user` of their requests, or the key's id."""
    from undercroft.collect.consent import decide

    decide(state.project(), user, "withdrawn", reason)
    click.echo(f"{user} has withdrawn. Make everything again without it with: undercroft up")


@consent.command(epilog="Example:  undercroft consent give ada --reason 'signed form'")
@click.argument("user")
@reason_option
@click.pass_obj
def give(state: State, user: str, reason: str) -> None:
    """Let the requests of USER speak for themselves again."""
    from undercroft.collect.consent import decide

    decide(state.project(), user, "given", reason)
    click.echo(f"What {user} sends, or sent, with store: true may be learnt from.")


@consent.command("ls", epilog="Example:  undercroft consent ls --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def list_consents(state: State, as_json: bool) -> None:
    """List what was decided, newest first; people are shown by their keyed hash."""
    from undercroft.collect.consent import consents

    found = list(consents(state.project()).values())
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        click.echo("Nobody has decided anything; requests speak for themselves.")
    for each in found:
        click.echo(
            f"{each.at:%Y-%m-%d %H:%M}  {each.verdict:9}  {each.subject[:16]}  {each.reason}"
        )
