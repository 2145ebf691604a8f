"""``undercroft init``, ``status`` and ``stop``."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from pathlib import Path
from typing import Any

import click

from undercroft.cli.main import State, print_json


@click.command(epilog="Example:  undercroft init handbook && undercroft up handbook")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--print", "only_print", is_flag=True, help="Print the file instead of writing it.")
def init(folder: Path | None, only_print: bool) -> None:
    """Write a commented undercroft.toml with every default into FOLDER."""
    from undercroft.config import FILE_NAME, slug
    from undercroft.errors import BadInput

    root = (folder or Path()).resolve()
    text = commented_settings(slug(root.name))
    if only_print:
        click.echo(text, nl=False)
        return
    path = root / FILE_NAME
    if path.exists():
        raise BadInput(f"{path} is there already.", "It was left as it is.", "Edit it, or move it.")
    root.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    click.echo(f"wrote {path}\nnext:  undercroft up {folder or '.'}")


def commented_settings(name: str) -> str:
    """Every setting with its default and meaning, commented out so that defaults may move on."""
    from undercroft.config import describe

    lines = ["# Settings of an Undercroft project. A line that starts with # shows a default."]
    current = ""
    for section, help_text, key, default, description in describe():
        if section != current:
            current = section
            lines += ["", f"[{section}]  # {help_text.splitlines()[0]}"]
        if (section, key) == ("project", "name"):
            lines += textwrap.wrap(description, 96, initial_indent="# ", subsequent_indent="# ")
            lines.append(f"name = {_toml(name)}")
            continue
        lines.append(f"# {key} = {_toml(default)}  # {description}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    import json

    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)  # TOML and JSON agree on these scalars and lists


@click.command(epilog="Example:  undercroft status --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def status(state: State, as_json: bool) -> None:
    """Show what is running, what is served and what ran last."""
    from undercroft.jobs import workers
    from undercroft.up import urls_of

    project = state.project()
    routes = project.ledger.aliases("route", project.name)
    served = routes.get("live")
    facts: dict[str, Any] = {
        "project": project.name,
        "folder": str(project.root),
        "urls": urls_of(project),
        "route": f"route:{project.name}@{served}" if served else None,
        "model": None,
        "workers": workers(project),
        "runs": [
            {"id": run.id, "stage": run.stage, "status": run.status, "started_at": run.started_at}
            for run in project.ledger.runs(limit=5)
        ],
    }
    if served:
        facts["model"] = project.ledger.artifact(facts["route"]).meta.get("model")
    if as_json:
        print_json(facts)
        return
    click.echo(f"{facts['project']}  {facts['folder']}")
    click.echo(f"  served   {facts['model'] or 'nothing yet; run: undercroft up'}")
    for name, url in facts["urls"].items():
        click.echo(f"  {name:8} {url}")
    if not facts["urls"]:
        click.echo("  nothing is running; start it with: undercroft up")
    for run in facts["runs"]:
        click.echo(f"  {run['started_at']:%Y-%m-%d %H:%M:%S}  {run['stage']:10} {run['status']}")


@click.command(epilog="Example:  undercroft stop")
@click.option("--timeout", "timeout_s", default=20.0, help="Seconds to wait for it to end.")
@click.pass_obj
def stop(state: State, timeout_s: float) -> None:
    """Stop the gateway and the console that `undercroft up` left running."""
    from undercroft.errors import Busy

    project = state.project()
    path = project.state / "up.pid"
    try:
        pid = int(path.read_text())
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        path.unlink(missing_ok=True)
        click.echo(f"{project.name} is not running.")
        return
    deadline = time.monotonic() + timeout_s
    while path.exists():
        if time.monotonic() > deadline:
            raise Busy(f"Process {pid} is still ending.", do=f"Look again, or: kill -9 {pid}")
        time.sleep(0.1)
    click.echo(f"{project.name} has stopped.")
