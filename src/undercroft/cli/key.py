"""``undercroft key``."""

from __future__ import annotations

import click

from undercroft.cli.main import State, print_json


@click.group(epilog="Example:  undercroft key create alice --role user")
def key() -> None:
    """Create, list and revoke the API keys of a project."""


@key.command(epilog="Example:  undercroft key create alice --role user --daily-tokens 100000")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["admin", "operator", "user", "console"]),
    default="user",
    show_default=True,
)
@click.option("--daily-tokens", type=int, help="Token budget per day; else the project's.")
@click.option("--tenant", default="", help="Who shares a budget and a share of the gateway.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def create(
    state: State, name: str, role: str, daily_tokens: int | None, tenant: str, as_json: bool
) -> None:
    """Create a key and show it, this once. Keys of one tenant share its daily tokens
    ([admission] tenant_tokens) and its share of the slots; a key without one is its own."""
    keys = state.project().trust.keys
    principal, secret = keys.create(name, role, daily_tokens, tenant=tenant)
    if as_json:
        whole = {"id": principal.id, "name": name, "role": role, "tenant": tenant, "key": secret}
        print_json(whole)
        return
    click.echo(secret)
    click.echo(f"Key of {name} ({role}). It cannot be shown again.", err=True)


@key.command("ls", epilog="Example:  undercroft key ls --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def list_keys(state: State, as_json: bool) -> None:
    """List the keys; never their secrets."""
    principals = state.project().trust.keys.list()
    if as_json:
        print_json(
            [
                {
                    "id": one.id,
                    "name": one.name,
                    "role": one.role,
                    "daily_tokens": one.daily_tokens,
                    "tenant": one.tenant,
                }
                for one in principals
            ]
        )
        return
    for one in principals:
        click.echo(f"{one.name:20} {one.role:9} {one.id} {one.tenant}".rstrip())


@key.command(epilog="Example:  undercroft key revoke alice")
@click.argument("name")
@click.pass_obj
def revoke(state: State, name: str) -> None:
    """Let a key in no more; takes effect within a second."""
    state.project().trust.keys.revoke(name)
    click.echo(f"The key of {name} is revoked.")
