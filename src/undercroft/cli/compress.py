"""``undercroft compress``: a model in fewer bits, or its adapters alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from undercroft.cli.artifacts import as_dict
from undercroft.cli.main import State, print_json

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.records import Artifact


@click.command(
    epilog="Examples:  undercroft compress docs --formats q8_0,q4_0    "
    "undercroft compress docs --adapter"
)
@click.argument("model", required=False)
@click.option("--formats", help="GGUF formats to make; else compress.formats.")
@click.option("--adapter", is_flag=True, help="The adapters it was trained with, and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def compress(
    state: State, model: str | None, formats: str | None, adapter: bool, as_json: bool
) -> None:
    """Make GGUF files of MODEL, the project's own unless named.

    With --adapter it is adapter:NAME, what LoRA training added to the base. One engine serves the
    base and many adapters, each request with the one it names.
    """
    from undercroft.compress import stage
    from undercroft.config import changed
    from undercroft.settings import Section

    project = state.project()
    parent = _parent(project, model)
    if adapter:
        made = stage.adapter(project, Section(), model=parent)
    else:
        wanted = None if formats is None else _formats(formats)
        options = {"formats": wanted, "serve": wanted[0] if wanted else None}
        params = changed("compress", project.settings.compress, options, "compress")
        made = stage.compress(project, params, model=parent)
    if as_json:
        print_json([as_dict(each) for each in made])
        return
    for each in made:
        click.echo(f"{each.ref}  {each.size_bytes / 1e6:,.1f} MB  {project.path(each)}")


def _formats(said: str) -> Sequence[str]:
    """What --formats names; looked at before anything is read."""
    from undercroft.compress.gguf_export import FORMATS

    named = said.split(",")
    if unknown := [each for each in named if each not in FORMATS]:
        raise click.BadParameter(
            f"there is no format {unknown[0]!r}; formats are {', '.join(FORMATS)}",
            param_hint="'--formats'",
        )
    return named


def _parent(project: Project, model: str | None) -> Artifact:
    """The model to be compressed. Raises `BadInput` for what has no weights of its own."""
    from undercroft.errors import BadInput

    named = model if model and ":" in model else f"model:{model or project.name}"
    found = project.ledger.artifact(named)
    if found.kind != "model":
        raise BadInput(f"{found.ref} is no model.", do="See them with: undercroft ls model")
    if found.meta.get("file") == "gguf":
        raise BadInput(
            f"{found.ref} is a smaller copy already.",
            f"It was made from {found.meta.get('source', 'another model')}.",
            "Name that one: what was rounded once is not rounded again.",
        )
    if found.meta.get("engine") == "remote":
        raise BadInput(
            f"{found.ref} runs elsewhere.", "Its weights are not here.",
            "See what is: undercroft ls model",
        )  # fmt: skip
    return found
