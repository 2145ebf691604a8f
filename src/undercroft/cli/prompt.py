"""``undercroft prompt``."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from typing import Any, TextIO

import click

from undercroft.cli.main import State, print_json
from undercroft.errors import BadInput


@click.group(
    epilog="Example:  undercroft prompt show > prompt.toml, edit it, then:  "
    "undercroft prompt set prompt.toml && undercroft up"
)
def prompt() -> None:
    """Show and change what questions are put with.

    The prompt's texts are an artifact, prompt:NAME. What is set here is what the next model is
    trained and judged with; it is served when the route made with it has passed the gate.
    """


@prompt.command("ls", epilog="Example:  undercroft prompt ls --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def ls(state: State, as_json: bool) -> None:
    """List the versions, the newest first, with what they stand for."""
    project = state.project()
    found = project.ledger.artifacts("prompt", project.name)
    means: dict[int, list[str]] = {}
    for alias, version in project.ledger.aliases("prompt", project.name).items():
        means.setdefault(version, []).append(alias)
    live = _live(state)
    rows: list[dict[str, Any]] = [
        {
            "ref": str(each.ref),
            "created_at": each.created_at,
            "is": means.get(each.ref.version or 0, []) + ["live"] * (str(each.ref) == live),
            "texts": each.meta["texts"],
        }
        for each in found
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("The default is used. See it with: undercroft prompt show")
    for row in rows:
        click.echo(f"{row['ref']:24} {row['created_at']:%Y-%m-%d %H:%M}  {', '.join(row['is'])}")


@prompt.command(epilog="Example:  undercroft prompt show 2, or:  undercroft prompt show live")
@click.argument("version", default="wanted")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def show(state: State, version: str, as_json: bool) -> None:
    """Show the texts of a VERSION as TOML: a number, wanted (what is set), or live."""
    texts = _texts(state, version)
    if as_json:
        print_json(texts)
    else:
        click.echo(as_toml(texts), nl=False)


@prompt.command(epilog="Example:  undercroft prompt diff 1 2, or:  undercroft prompt diff")
@click.argument("one", default="live")
@click.argument("other", default="wanted")
@click.option("--json", "as_json", is_flag=True, help="Print both sides of each text as JSON.")
@click.pass_obj
def diff(state: State, one: str, other: str, as_json: bool) -> None:
    """Show in what two versions differ; by default what is served and what is set."""
    left, right = _texts(state, one), _texts(state, other)
    if as_json:
        changed = {name: [left[name], right[name]] for name in left if left[name] != right[name]}
        print_json(changed)
        return
    lines = difflib.unified_diff(
        as_toml(left).splitlines(), as_toml(right).splitlines(), one, other, lineterm="", n=9
    )
    text = "\n".join(lines)
    click.echo(text or "They are the same.")


@prompt.command(
    "set",
    epilog="Example:  undercroft prompt set prompt.toml, or:  "
    'undercroft prompt set --refusal "I do not know."',
)
@click.argument("file", type=click.File("r", encoding="utf-8"), required=False)
@click.option("--system", help="The system text; {title} and {refusal} are filled in.")
@click.option("--refusal", help="The answer where the passages hold none.")
@click.option("--version", help="Go back to this version.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def set_(
    state: State,
    file: TextIO | None,
    system: str | None,
    refusal: str | None,
    version: str | None,
    as_json: bool,
) -> None:
    """Set the prompt: from a FILE as `show` prints it (- reads standard input), by its texts, or
    to an earlier version. What is not named stays as it is."""
    from undercroft.release import prompts

    texts = dict(_texts(state, version)) if version else {}
    if file is not None:
        texts |= _read(file)
    texts |= {
        name: text for name, text in (("system", system), ("refusal", refusal)) if text is not None
    }
    if not texts:
        raise BadInput(
            "There is nothing to set.",
            "No file, text or version was given.",
            "Begin with: undercroft prompt show > prompt.toml",
        )
    made = prompts.change(state.project(), texts)
    if as_json:
        print_json({"ref": str(made.ref), "texts": made.meta["texts"]})
        return
    click.echo(f"{made.ref} is what is trained and judged from now on.")
    click.echo("It is served when its route has passed the gate: undercroft up")


def as_toml(texts: Mapping[str, str]) -> str:
    """``texts`` as TOML that reads back as they are; of several lines as they look."""
    lines = []
    for name, text in texts.items():
        whole = text.replace("\\", "\\\\").replace('"', '\\"')
        whole = "".join(
            each if each.isprintable() or each == "\n" else _escaped(each) for each in whole
        )
        lines.append(f'{name} = """\n{whole}"""' if "\n" in whole else f'{name} = "{whole}"')
    return "\n".join(lines) + "\n"


def _escaped(character: str) -> str:
    return f"\\U{ord(character):08x}"


def _read(file: TextIO) -> dict[str, str]:
    try:
        found = tomllib.loads(file.read())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{file.name} is not TOML.", f"{error}.", "Begin with: undercroft prompt show"
        ) from None
    wrong = next((name for name, text in found.items() if not isinstance(text, str)), None)
    if wrong is not None:
        raise BadInput(f"{wrong!r} in {file.name} is not a text.", do="Put it in quotes.")
    return found


def _texts(state: State, version: str) -> Mapping[str, str]:
    project = state.project()
    if version == "wanted":
        return project.prompt.texts
    if version == "live":
        return project.template(_live(state)).texts
    ref = version if ":" in version else f"prompt:{project.name}@{version}"
    return project.template(ref).texts


def _live(state: State) -> str:
    """The prompt that the live route names; "" is the default."""
    from undercroft.release.live import live_route

    route = live_route(state.project())
    return str(route.meta.get("template") or "") if route is not None else ""
