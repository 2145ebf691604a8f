"""The short summary at the end of ``undercroft up``."""

from __future__ import annotations

from typing import Any

METRICS = (
    ("answer_f1", "words right (token F1)", True),
    ("grounded", "grounded in the passages", True),
    ("cited", "citations right", True),
    ("refused_unanswerable", "refuses the unanswerable", True),
    ("refused_answerable", "refuses the answerable", False),
    ("answer_perplexity", "perplexity of the answer", False),
)


def print_summary(summary: dict[str, Any]) -> None:
    """Print what was made, whether it got better, and where it is served."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    documents = summary["documents"]
    removed = sum(documents["removed"].values())
    console.print()
    console.print(
        f"[bold]{documents['kept']:,}[/] of {documents['collected']:,} documents kept "
        f"[dim]({removed:,} removed)[/] → {summary['dataset']} → {summary['model']}"
    )
    evaluation = summary["evaluation"]
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column(f"on {evaluation['cases']} held-out questions")
    for name in ("base", "tuned"):
        table.add_column(name, justify="right")
    for key, label, _ in METRICS:
        base, tuned = evaluation["base"].get(key), evaluation["tuned"].get(key)
        if base is not None and tuned is not None:
            table.add_row(label, f"{base:.2f}", f"[bold]{tuned:.2f}[/]")
    console.print(table)
    release = summary["release"]
    verdict = "[green]released[/]" if release["released"] else "[yellow]not released[/]"
    console.print(f"{verdict}: {release['reason']}")
    if summary["answer"]:
        _print_answer(console, summary["answer"])
    total = sum(summary["seconds"].values())
    console.print(
        f"[dim]{total:.0f} s this time; {summary['energy_wh']:.2f} Wh to make it all "
        f"({summary['energy_is']})[/]"
    )
    console.print()
    for name, url in summary["urls"].items():
        console.print(f"  {name:8} [cyan underline]{url}[/]")
    console.print("\n  Try:  undercroft ask 'your question'     Stop with Ctrl-C.\n")


def _print_answer(console: Any, answer: dict[str, Any]) -> None:
    from rich.markup import escape

    console.print(f"\n[bold]{escape(answer['question'])}[/]\n{escape(answer['text'])}")
    print_sources(console, answer["sources"])


def print_sources(console: Any, sources: list[dict[str, Any]]) -> None:
    """The passages that an answer was given from, numbered as it cites them."""
    for number, source in enumerate(sources, start=1):
        start, end = source["span"]
        mark = "[green]●[/]" if source.get("cited") else "[dim]○[/]"
        console.print(
            f"  {mark} \\[{source.get('number', number)}] {source['uri']} [dim]{start}–{end}[/]"
        )
