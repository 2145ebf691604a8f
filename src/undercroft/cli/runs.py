"""``undercroft runs``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.curve import curve
from undercroft.cli.files import write
from undercroft.cli.main import State, print_json
from undercroft.cli.numbers import Finite
from undercroft.errors import NotFound, StageFailed
from undercroft.records import Run

if TYPE_CHECKING:
    from undercroft.ledger.compare import Side


_CURVE_POINTS = 24


class _Runs(click.Group):
    """What is no command of the group is the id of a run to show."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Runs,
    invoke_without_command=True,
    epilog="Examples:  undercroft runs --stage train    undercroft runs RUN_ID    "
    "undercroft runs compare model:docs@1 model:docs@2",
)
@click.option("--stage", help="Runs of this stage only.")
@click.option(
    "--status",
    type=click.Choice(["running", "finished", "failed", "cancelled"]),
    help="Only these.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Newest first."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def runs(
    ctx: click.Context, stage: str | None, status: str | None, limit: int, as_json: bool
) -> None:
    """List runs, the newest first; show or watch one, compare several, or write a report."""
    if ctx.invoked_subcommand is not None:
        return
    found = ctx.obj.project().ledger.runs(stage=stage, status=status, limit=limit)
    if as_json:
        print_json([as_dict(run) for run in found])
        return
    if not found:
        click.echo("Nothing has run yet. Begin with: undercroft up FOLDER")
    for run in found:
        outputs = ", ".join(str(ref) for ref in run.outputs) or (run.error or "")
        click.echo(
            f"{run.started_at:%Y-%m-%d %H:%M:%S}  {run.stage:9} {run.status:9} "
            f"{run.footprint.wall_s:7.1f} s  {run.id}  {outputs}"
        )


@runs.command(
    epilog="Example:  undercroft runs show RUN_ID --json, or just:  undercroft runs RUN_ID"
)
@click.argument("run_id")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def show(ctx: click.Context, run_id: str, as_json: bool) -> None:
    """Show a run with its inputs, outputs, cost and, as JSON, all that happened in it."""
    assert ctx.parent is not None
    ledger = ctx.obj.project().ledger
    facts = as_dict(ledger.run(run_id))
    if as_json or ctx.parent.params["as_json"]:
        events = [{"at": at, "kind": kind, **detail} for at, kind, detail in ledger.events(run_id)]
        print_json({**facts, "events": events})
        return
    for key, value in facts.items():
        click.echo(f"{key:12} {value}")


@runs.command(epilog="Example:  undercroft runs compare model:docs@1 model:docs@2 --html both.html")
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page too.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with the curves.")
@click.pass_obj
def compare(state: State, names: tuple[str, ...], html: Path | None, as_json: bool) -> None:
    """Show what several runs were given, what they cost and what came of them, side by side.

    RUN is a run's id or what it made, such as model:docs@2. Settings and facts in which all are
    alike are left out; the page has the curves of every metric.
    """
    from undercroft.ledger import compare as comparing

    project = state.project()
    sides = [comparing.side(project.ledger, name, project.state) for name in names]
    facts = comparing.rows(sides)
    if html is not None:
        _write(html, sides)
    if as_json:
        print_json([comparing.as_dict(each) for each in sides])
        return
    columns = [["", *(name for name, _ in facts)]]
    columns += [
        [each.name, *(values[number] for _, values in facts)] for number, each in enumerate(sides)
    ]
    for each, column in zip(sides, columns[1:], strict=True):
        if "loss" in each.curves:
            column.append(curve(each.curves["loss"].values, _CURVE_POINTS))
    columns[0] += ["loss by step"] * any("loss" in each.curves for each in sides)
    widths = [max(map(len, column)) for column in columns]
    for number in range(len(columns[0])):
        cells = (column[number] if number < len(column) else "" for column in columns)
        click.echo("  ".join(f"{c:{w}}" for c, w in zip(cells, widths, strict=True)).rstrip())


@runs.command(epilog="Example:  undercroft runs report model:docs@2 --html run.html")
@click.argument("name", metavar="RUN")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Where; else RUN.html here."
)
@click.pass_obj
def report(state: State, name: str, html: Path | None) -> None:
    """Write a page about a run: facts, settings, a picture of every metric, what deserved notice
    with the documents of its batch, and what was seen inside the model. It needs no network.

    RUN is a run's id or what it made, such as model:docs@2.
    """
    from undercroft.ledger.compare import side

    path = html or Path(f"{name.replace(':', '-').replace('@', '-')}.html")
    project = state.project()
    _write(path, [side(project.ledger, name, project.state)])
    click.echo(path)


@runs.command(epilog="Example:  undercroft runs watch, or:  undercroft runs watch RUN_ID --json")
@click.argument("run_id", required=False)
@click.option(
    "--every",
    "every_s",
    type=Finite(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each event.")
@click.pass_obj
def watch(state: State, run_id: str | None, every_s: float, as_json: bool) -> None:
    """Show a run while it goes, until it ends: progress, all metrics, and what deserved notice.

    Without RUN_ID it is the newest that is running, or else the newest.
    """
    from undercroft.cli.following import follow

    project = state.project()
    if run_id is None:
        ledger = project.ledger
        newest = ledger.runs(status="running", limit=1) or ledger.runs(limit=1)
        if not newest:
            raise NotFound("Nothing has run yet.", do="Begin with: undercroft up FOLDER")
        run_id = newest[0].id
    ended = follow(project, run_id, every_s, as_json)
    if ended.status != "finished":
        raise StageFailed(f"The run {ended.id} is {ended.status}.", ended.error or "")


def _write(path: Path, sides: Sequence[Side]) -> None:
    from undercroft.ledger.report import as_html

    write(path, as_html(sides))


def as_dict(run: Run) -> dict[str, Any]:
    """The JSON form of a run."""
    return {
        "id": run.id,
        "stage": run.stage,
        "status": run.status,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "inputs": [str(ref) for ref in run.inputs],
        "outputs": [str(ref) for ref in run.outputs],
        "params": dict(run.params),
        "attempt": run.attempt,
        "error": run.error,
        "wall_s": run.footprint.wall_s,
        "cpu_s": run.footprint.cpu_s,
        "peak_rss_bytes": run.footprint.peak_rss_bytes,
        "energy_wh": run.footprint.energy_wh,
        "energy_is": run.footprint.energy_is,
        "memo_key": run.memo_key,
    }
