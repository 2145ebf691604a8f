"""``undercroft lineage``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from undercroft.cli.main import State, print_json


@click.command(
    epilog="Examples:  undercroft lineage model:docs --up    undercroft lineage answer:ans-…"
)
@click.argument("ref")
@click.option("--up", "direction", flag_value="up", help="Only what it was made from.")
@click.option("--down", "direction", flag_value="down", help="Only what was made from it.")
@click.option("--depth", type=int, help="Steps followed at most.")
@click.option("--svg", type=click.Path(path_type=Path), help="Draw it into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print nodes and edges as JSON.")
@click.pass_obj
def lineage(
    state: State,
    ref: str,
    direction: Literal["up", "down"] | None,
    depth: int | None,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Follow the thread from an artifact, answer:ID or document:ID, up, down or both ways."""
    from undercroft.govern import thread
    from undercroft.ledger import draw

    found = thread(state.project(), ref, direction or "both", depth)
    if svg is not None:
        svg.write_text(draw.as_svg(found), encoding="utf-8")
        click.echo(f"drew {len(found.nodes)} nodes into {svg}", err=True)
    if as_json:
        print_json(draw.as_json(found))
    elif svg is None:
        click.echo(draw.as_text(found))
