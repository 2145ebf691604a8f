"""``undercroft engine``: builds of llama.cpp for this machine's processor."""

from __future__ import annotations

from pathlib import Path

import click

from undercroft.cli.bar import bar
from undercroft.cli.main import print_json


@click.group(epilog="Examples:  undercroft engine build    undercroft engine ls --json")
def engine() -> None:
    """Build llama.cpp for this machine's processor, and list the builds."""


@engine.command(epilog="Example:  undercroft engine build --jobs 2")
@click.option(
    "--source", type=click.Path(path_type=Path),
    help="Source distribution of the installed xllamacpp; else pip fetches it.",
)  # fmt: skip
@click.option("--without", multiple=True, help="A feature of the processor not to use; repeatable.")
@click.option("--jobs", default=0, help="Processes that compile; 0 takes every core.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def build(source: Path | None, without: tuple[str, ...], jobs: int, as_json: bool) -> None:
    """Compile llama.cpp for this processor, and use it where it answers as the wheel does.

    Takes minutes; run it again to go on with what was interrupted. It needs a C++ compiler; cmake
    and ninja are installed beside it where they are missing.
    """
    from undercroft.engines import building
    from undercroft.errors import EngineFailed

    with bar("engine", as_json) as tell:
        made = building.build(tell, source, frozenset(without), jobs)
    if as_json:
        print_json({**made.as_dict(), "server": str(made.server)})
    if made.fault:
        raise EngineFailed(
            f"The build {made.name} is kept out of use.",
            f"It was compiled, and {made.fault}.",
            "The installed wheel is used. Try: undercroft engine build --without FEATURE",
        )
    if not as_json:
        click.echo(
            f"Built {made.name} for {', '.join(sorted(made.needs))} in {made.seconds:.0f} s. Over "
            f"{made.compared} tokens it is at most {made.difference:.3f} nats from the wheel."
        )
        click.echo("Engines use it from their next start; undercroft serve tune measures it.")


@engine.command("ls", epilog="Example:  undercroft engine ls --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_builds(as_json: bool) -> None:
    """List the builds there are, which one is used, and why others are not."""
    from undercroft.engines import native
    from undercroft.engines.processor import features

    has, version = features(), native.installed()
    used = native.choose("auto")
    rows = [
        {**each.as_dict(), "used": each == used, "unfit": each.unfit(has, version)}
        for each in native.builds()
    ]
    if as_json:
        print_json({"wheel": version, "builds": rows})
        return
    click.echo(f"{' ' if used else '*'} wheel {version}")
    for row in rows:
        click.echo(
            f"{'*' if row['used'] else ' '} {row['name']}  {row['made_at']}  "
            f"{row['unfit'] or ', '.join(row['needs'])}"
        )
    if advice := native.advice():
        click.echo(advice)
