"""``undercroft suite``: evaluation suites from elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from undercroft.cli.main import State, print_json
from undercroft.errors import BadInput


@click.group(epilog="Example:  undercroft suite add maths exams/maths.jsonl")
def suite() -> None:
    """Register evaluation suites, so that no dataset holds what models are examined with."""


@suite.command(epilog="Example:  undercroft suite add maths exams/maths.jsonl --json")
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def add(state: State, name: str, files: tuple[Path, ...], as_json: bool) -> None:
    """Keep FILES (JSON Lines, CSV, Parquet, text) as suite:NAME.

    Documents that hold 13 words of one of its items in a row are left out of every dataset made
    from now on (`decontaminate` under [curate]).
    """
    from pydantic import ValidationError

    from undercroft.curate.exams import SuiteFiles, register

    try:
        chosen = SuiteFiles(name=name, files=[str(file.resolve()) for file in files])
    except ValidationError:
        raise BadInput(
            f"A suite cannot be named {name!r}.",
            "Names are lower-case letters, digits, dots, dashes and underscores.",
            "Name it, for instance, maths-2026.",
        ) from None
    (made,) = register(state.project(), chosen)
    if as_json:
        print_json({"suite": str(made.ref), "texts": made.meta["texts"]})
        return
    click.echo(f"{made.ref}: {made.meta['texts']:,} texts. Datasets leave them out from now on.")


@suite.command("ls", epilog="Example:  undercroft suite ls --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def list_suites(context: click.Context, as_json: bool) -> None:
    """List every version of every suite, newest first."""
    from undercroft.cli.artifacts import ls

    context.invoke(ls, kind="suite", as_json=as_json)
