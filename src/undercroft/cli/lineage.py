"""``undercroft lineage``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from undercroft.cli.files import write
from undercroft.cli.main import State, print_json

if TYPE_CHECKING:
    from undercroft.train.reading import Seen

_STEPS_SHOWN = 12


@click.command(
    epilog="Examples:  undercroft lineage model:docs --up    undercroft lineage answer:ans-…"
)
@click.argument("ref", required=False)
@click.option("--up", "direction", flag_value="up", help="Only what it was made from.")
@click.option("--down", "direction", flag_value="down", help="Only what was made from it.")
@click.option("--depth", type=int, help="Steps followed at most.")
@click.option("--svg", type=click.Path(path_type=Path), help="Draw it into this file.")
@click.option("--openlineage", is_flag=True, help="All runs as OpenLineage events, one a line.")
@click.option("--documents", is_flag=True, help="Of a model: what it read, and when.")
@click.option("--document", default="", metavar="ID", help="Of a model: when it read this one.")
@click.option("--json", "as_json", is_flag=True, help="Print nodes and edges as JSON.")
@click.pass_obj
def lineage(
    state: State,
    ref: str | None,
    direction: Literal["up", "down"] | None,
    depth: int | None,
    svg: Path | None,
    openlineage: bool,
    documents: bool,
    document: str,
    as_json: bool,
) -> None:
    """Follow the thread from an artifact, answer:ID or document:ID, up, down or both ways.

    With --documents or --document, say of a model at which steps it read which documents, and of
    the models it was made from. With --openlineage, print the events of all runs instead, for
    Marquez and other catalogues.
    """
    if openlineage:
        from undercroft.govern.openlineage import as_json as events_of

        for event in events_of(state.project()):
            click.echo(event)
        return
    if ref is None:
        raise click.UsageError("Name an artifact, answer:ID or document:ID, or --openlineage.")
    if documents or document:
        from undercroft.train.reading import seen

        _print_seen(seen(state.project(), ref, document), as_json)
        return
    from undercroft.govern import thread
    from undercroft.ledger import draw

    found = thread(state.project(), ref, direction or "both", depth)
    if svg is not None:
        write(svg, draw.as_svg(found))
        click.echo(f"drew {len(found.nodes)} nodes into {svg}", err=True)
    if as_json:
        print_json(draw.as_json(found))
    elif svg is None:
        click.echo(draw.as_text(found))


def _print_seen(found: list[Seen], as_json: bool) -> None:
    if as_json:
        print_json([asdict(each) for each in found])
        return
    model = ""
    for each in found:
        if each.model != model:
            model = each.model
            click.echo(f"{model} read")
        shown = ", ".join(map(str, each.steps[:_STEPS_SHOWN]))
        more = f" and {len(each.steps) - _STEPS_SHOWN:,} more" * (len(each.steps) > _STEPS_SHOWN)
        times = "once" if each.times == 1 else f"{each.times:,} times"
        click.echo(f"  {each.document}  {times}, at step {shown}{more}")
