"""``undercroft data review|release|reject``: documents that wait for somebody's decision."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from undercroft.cli.main import State, print_json

if TYPE_CHECKING:
    from undercroft.curate.review import Verdict

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
reason_option = click.option("--reason", required=True, help="Kept for ever.")


@click.command(
    short_help="List the documents that wait for a decision.",
    epilog="Example:  undercroft data review handbook --json",
)
@click.argument("name", metavar="[DATASET]", default="")
@as_json_option
@click.pass_obj
def review(state: State, name: str, as_json: bool) -> None:
    """List what rules put aside for somebody to decide (`review` under [curate])."""
    from undercroft.curate.review import waiting
    from undercroft.versions.names import dataset_of

    project = state.project()
    found = waiting(project, dataset_of(project, name))
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        click.echo("Nothing waits for a decision.")
    for each in found:
        click.echo(f"{each.id}  {each.rule} {each.value}  {each.uri}")
    if found:
        click.echo("Look:    undercroft show document:ID")
        click.echo("Decide:  undercroft data release ID --reason …   or  reject")


@click.command(
    short_help="Let documents that wait into the dataset.",
    epilog="Example:  undercroft data release 3f2a9c0011223344 --reason 'quoted from a novel'",
)
@click.argument("documents", nargs=-1, required=True)
@reason_option
@click.pass_obj
def release(state: State, documents: tuple[str, ...], reason: str) -> None:
    """Let documents pass the rules that put them aside, from the next dataset on."""
    _decide(state, documents, "released", reason)


@click.command(
    short_help="Leave documents that wait out for good.",
    epilog="Example:  undercroft data reject 3f2a9c0011223344 --reason 'an insult, nothing else'",
)
@click.argument("documents", nargs=-1, required=True)
@reason_option
@click.pass_obj
def reject(state: State, documents: tuple[str, ...], reason: str) -> None:
    """Leave documents out and ask no more about them; `release` changes that."""
    _decide(state, documents, "rejected", reason)


def _decide(state: State, documents: tuple[str, ...], verdict: Verdict, reason: str) -> None:
    from undercroft.curate.review import decide
    from undercroft.versions.names import dataset_of

    project = state.project()
    dataset = dataset_of(project, "")
    for each in documents:
        found = decide(project, dataset, each.removeprefix("document:"), verdict, reason)
        click.echo(f"{verdict} {each}{f'  {found.uri}' if found else ''}")
    click.echo("The next dataset follows: undercroft up")
