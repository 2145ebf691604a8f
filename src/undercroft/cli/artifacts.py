"""``undercroft ls``, ``show`` and ``rollback``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from undercroft.cli.main import State, print_json
from undercroft.records import KINDS, Artifact


@click.command(epilog="Example:  undercroft ls model")
@click.argument("kind", required=False, type=click.Choice(KINDS))
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Newest first."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def ls(state: State, kind: str | None, limit: int, as_json: bool) -> None:
    """List artifacts, the newest first."""
    artifacts = state.project().ledger.artifacts(kind, limit=limit)
    if as_json:
        print_json([as_dict(artifact) for artifact in artifacts])
        return
    if not artifacts:
        click.echo("Nothing has been made yet. Begin with: undercroft up FOLDER")
    for artifact in artifacts:
        click.echo(
            f"{artifact.ref!s:36} {artifact.created_at:%Y-%m-%d %H:%M}  "
            f"{size(artifact.size_bytes):>9}  {artifact.digest[:12]}"
        )


def as_dict(artifact: Artifact) -> dict[str, Any]:
    """The JSON form of an artifact."""
    return {
        "ref": str(artifact.ref),
        "digest": artifact.digest,
        "uri": artifact.uri,
        "size_bytes": artifact.size_bytes,
        "created_at": artifact.created_at,
        "run": artifact.run_id,
        "meta": dict(artifact.meta),
    }


def by_ranks(meta: Mapping[str, Any]) -> str:
    """A line on the processes that trained a model, if they were several."""
    if "processes" not in meta:
        return ""
    again = f", started again {meta['restarts']} times" if meta["restarts"] else ""
    return (
        f"  by {meta['processes']} processes{again}; "
        f"{meta['goodput']:.0%} of the time went into steps that count\n"
    )


def damaged(meta: Mapping[str, Any]) -> str:
    """A warning of rows that training could not use, if there were any."""
    count = meta.get("refused_rows", 0)
    return (
        f"  {count:,} damaged rows were not read: refused.jsonl beside the model\n" if count else ""
    )


def size(size_bytes: int) -> str:
    """``size_bytes`` for people."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError


@click.command(epilog="Examples:  undercroft show dataset:docs    undercroft show document:3f2a…")
@click.argument("ref")
@click.option("--rule", help="Of a dataset: only what this rule removed.")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows shown at most."
)
@click.option("--offset", type=click.IntRange(0), default=0, help="Rows passed over.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def show(state: State, ref: str, rule: str | None, limit: int, offset: int, as_json: bool) -> None:
    """Show an artifact, a document (document:ID) or an answer (answer:ID).

    Of a dataset it says which documents were removed, by which rule, and the value that decided.
    """
    from undercroft.describe import describe

    facts = describe(state.project(), ref, rule=rule, limit=limit, offset=offset)
    if as_json:
        print_json(facts)
        return
    _print_facts(facts, indent=0)


def _print_facts(facts: Any, indent: int) -> None:
    pad = "  " * indent
    if isinstance(facts, dict):
        for key, value in facts.items():
            if isinstance(value, dict | list) and value:
                click.echo(f"{pad}{click.style(str(key), dim=True)}")
                _print_facts(value, indent + 1)
            else:
                shown = "none" if value in ({}, [], None) else value
                click.echo(f"{pad}{click.style(str(key), dim=True)}  {shown}")
    elif isinstance(facts, list):
        for item in facts:
            if isinstance(item, dict):
                shown = (key if value is True else value for key, value in item.items())
                said = (f"{value}" for value in shown if value is not False and value != "")
                click.echo(pad + "  ".join(said))
            else:
                click.echo(f"{pad}{item}")


@click.command(epilog="Example:  undercroft rollback --reason 'answers got shorter'")
@click.option("--reason", default="asked for by hand", show_default=True, help="Kept for ever.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def rollback(state: State, reason: str, as_json: bool) -> None:
    """Serve the previous route again, or end the rollout; the gateway follows within a second."""
    from undercroft.release.rollout import undo

    project = state.project()
    live, _ = undo(project, reason=reason)
    route = project.ledger.artifact(live)
    if as_json:
        print_json(as_dict(route))
        return
    click.echo(f"{route.ref} is live again, serving {route.meta['model']}")
