"""``undercroft cache``."""

from __future__ import annotations

from dataclasses import asdict

import click

from undercroft.cli.main import State, print_json


@click.group(
    epilog="Example:  UNDERCROFT_SERVE__SEMANTIC_CACHE=shadow undercroft up, and after some "
    "traffic:  undercroft cache alike"
)
def cache() -> None:
    """Look at what the gateway gives again."""


@cache.command(
    epilog="Example:  undercroft cache alike --limit 20, or:  undercroft cache alike --json"
)
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Newest first."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def alike(state: State, limit: int, as_json: bool) -> None:
    """Show questions that the semantic cache took for an earlier one, each below that one.

    In shadow mode (serve.semantic_cache) both were answered by the model: look whether one answer
    would have done before switching it on.
    """
    from undercroft.monitor.alike import taken

    found = taken(state.project(), limit)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        click.echo("No question was taken for an earlier one yet.")
        click.echo('Have them recorded with: [serve] semantic_cache = "shadow"')
    for each in found:
        outcome = "given" if each.given else "same answer" if each.same_answer else "other answer"
        click.echo(f"{each.at:%Y-%m-%d %H:%M:%S}  {each.id}  {outcome}")
        click.echo(f"    {each.earlier or '(erased)'}")
        click.echo(f"    {each.question or '(erased)'}")
