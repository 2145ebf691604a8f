"""``undercroft compress``: a model in fewer bits, or its adapters alone."""

from __future__ import annotations

import click

from undercroft.cli.artifacts import as_dict
from undercroft.cli.main import State, print_json


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
    parent = project.ledger.artifact(
        model if model and ":" in model else f"model:{model or project.name}"
    )
    if adapter:
        made = stage.adapter(project, Section(), model=parent)
    else:
        wanted = formats.split(",") if formats else None
        options = {"formats": wanted, "serve": wanted[0] if wanted else None}
        params = changed("compress", project.settings.compress, options, "compress")
        made = stage.compress(project, params, model=parent)
    if as_json:
        print_json([as_dict(each) for each in made])
        return
    for each in made:
        click.echo(f"{each.ref}  {each.size_bytes / 1e6:,.1f} MB  {project.path(each)}")
