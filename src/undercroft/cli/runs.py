"""``undercroft runs``."""

from __future__ import annotations

from typing import Any

import click

from undercroft.cli.main import State, print_json
from undercroft.records import Run


@click.command(epilog="Examples:  undercroft runs --stage train    undercroft runs RUN_ID")
@click.argument("run_id", required=False)
@click.option("--stage", help="Runs of this stage only.")
@click.option(
    "--status",
    type=click.Choice(["running", "finished", "failed", "cancelled"]),
    help="Only these.",
)
@click.option("--limit", default=20, show_default=True, help="Newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def runs(
    state: State,
    run_id: str | None,
    stage: str | None,
    status: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, the newest first, or show one with its inputs, outputs and cost."""
    ledger = state.project().ledger
    if run_id:
        facts = {
            **as_dict(ledger.run(run_id)),
            "events": [
                {"at": at, "kind": kind, **detail} for at, kind, detail in ledger.events(run_id)
            ],
        }
        if as_json:
            print_json(facts)
            return
        for key, value in facts.items():
            if key != "events":
                click.echo(f"{key:12} {value}")
        return
    found = ledger.runs(stage=stage, status=status, limit=limit)
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
