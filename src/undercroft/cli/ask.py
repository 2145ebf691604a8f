"""``undercroft ask``."""

from __future__ import annotations

from typing import Any

import click

from undercroft.cli.main import State, print_json


@click.command(epilog="Example:  undercroft ask 'How does the with statement work?'")
@click.argument("question")
@click.option("--json", "as_json", is_flag=True, help="Print id, text and sources as JSON.")
@click.pass_obj
def ask(state: State, question: str, as_json: bool) -> None:
    """Ask the served assistant; the answer streams, then its sources follow."""
    from undercroft import up as system_of

    chunks = system_of.ask(state.project(), question)
    if as_json:
        print_json({"question": question, **system_of.collect_answer(chunks)})
        return
    from rich.console import Console

    from undercroft.cli.summary import print_sources

    console = Console(highlight=False)
    sources: list[dict[str, Any]] = []
    answer_id = ""
    for chunk in chunks:
        answer_id = chunk.get("id") or answer_id
        sources = chunk.get("sources") or sources
        for choice in chunk.get("choices", ()):
            click.echo(choice.get("delta", {}).get("content") or "", nl=False)
    click.echo()
    print_sources(console, sources)
    console.print(f"[dim]  undercroft lineage answer:{answer_id}[/]")
