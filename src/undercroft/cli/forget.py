"""``undercroft forget``."""

from __future__ import annotations

from dataclasses import asdict

import click

from undercroft.cli.main import State, print_json


@click.command(epilog="Example:  undercroft forget --document 3f2a9c… --yes")
@click.option("--document", required=True, help="Id of the document, with or without document:.")
@click.option("--reason", default="asked for by hand", show_default=True, help="Kept for ever.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_obj
def forget(state: State, document: str, reason: str, yes: bool, as_json: bool) -> None:
    """Erase one document from raw, documents, vectors and caches; list everything it reached.

    Models that were trained on it are listed, not changed: the next `undercroft up` makes a dataset
    and a model without it.
    """
    from undercroft.govern import forget as erase

    project = state.project()
    if not yes:
        click.confirm(f"Erase {document} from {project.name}? This cannot be undone", abort=True)
    report = erase(project, document.removeprefix("document:"), reason=reason)
    if as_json:
        print_json(asdict(report))
        return
    click.echo(f"erased {report.document} ({report.uri})")
    for name, rows in report.erased.items():
        click.echo(f"  {name:10} {rows} rows")
    for label, reached in (
        ("made from it", report.artifacts),
        ("still quoting it", report.holding),
        ("answers that used it", report.answers),
    ):
        click.echo(f"{label}: {len(reached)}")
        for ref in reached:
            click.echo(f"  {ref}")
    click.echo("next:  undercroft up   (makes a dataset and a model without it)")
