"""``undercroft ask``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.main import State, print_json

if TYPE_CHECKING:
    from undercroft.client import Answer


@click.command(epilog="Example:  undercroft ask 'How does the with statement work?'")
@click.argument("question")
@click.option("--json", "as_json", is_flag=True, help="Print id, text and sources as JSON.")
@click.pass_obj
def ask(state: State, question: str, as_json: bool) -> None:
    """Ask the served assistant; the answer streams, then its sources follow."""
    from undercroft.client import Gateway

    gateway = Gateway(state.project())
    if as_json:
        print_json(answer_record(question, gateway.answer(question)))
        return
    from rich.console import Console

    from undercroft.cli.summary import print_sources

    answer = gateway.answer(question, lambda text: click.echo(text, nl=False))
    click.echo()
    console = Console(highlight=False)
    print_sources(console, answer.sources)
    console.print(f"[dim]  undercroft lineage answer:{answer.id}[/]")


def answer_record(question: str, answer: Answer) -> dict[str, Any]:
    """An answer as ``--json`` prints it."""
    return {
        "question": question,
        "id": answer.id,
        "text": answer.text,
        "sources": answer.sources,
    }
