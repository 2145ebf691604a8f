"""``undercroft secret``: what the project itself needs to know and nobody may read."""

from __future__ import annotations

import sys

import click

from undercroft.cli.main import State, print_json

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group(epilog="Example:  undercroft secret set OPENAI_KEY < key.txt")
def secret() -> None:
    """Keep secrets sealed in the project's vault, such as keys of models that run elsewhere."""


@secret.command("set", epilog="Example:  undercroft secret set OPENAI_KEY < key.txt")
@click.argument("name")
@click.pass_obj
def set_(state: State, name: str) -> None:
    """Keep a secret under NAME; it is asked for, or read from standard input."""
    secrets = state.project().trust.secrets
    is_asked = sys.stdin.isatty()
    value = click.prompt(name, hide_input=True) if is_asked else sys.stdin.read()
    secrets.set(name, value)
    click.echo(f"{name} is kept. Engines that use it read it when they are started next.", err=True)


@secret.command(epilog="Example:  undercroft secret ls --json")
@_json
@click.pass_obj
def ls(state: State, as_json: bool) -> None:
    """List the names of all secrets; their values are never shown."""
    names = state.project().trust.secrets.names()
    if as_json:
        print_json(names)
        return
    for name in names:
        click.echo(name)
    if not names:
        click.echo("There are none. Keep one with: undercroft secret set NAME", err=True)


@secret.command(epilog="Example:  undercroft secret remove OPENAI_KEY")
@click.argument("name")
@click.pass_obj
def remove(state: State, name: str) -> None:
    """Forget the secret NAME."""
    state.project().trust.secrets.remove(name)
    click.echo(f"{name} is gone.", err=True)
