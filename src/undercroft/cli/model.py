"""``undercroft model``: models that are brought along, not made here."""

from __future__ import annotations

import os

import click

from undercroft.cli.artifacts import as_dict
from undercroft.cli.main import State, print_json

EXAMPLE = (
    "Example:  undercroft model add-remote big --url https://api.example.com/v1 --model big-2 "
    "--key BIG_KEY --price 2.5,10    then:  undercroft release change --fallback model:big"
)


@click.group(epilog=EXAMPLE)
def model() -> None:
    """Bring models along that run elsewhere."""


@model.command("add-remote", epilog=EXAMPLE)
@click.argument("name")
@click.option("--url", required=True, help="Of an OpenAI-compatible API.")
@click.option("--model", "theirs", required=True, help="What it is called there.")
@click.option("--key", default="", help="A secret's name (undercroft secret set), or a variable's.")
@click.option("--price", default="0,0", show_default=True, help="Per million tokens: IN,OUT.")
@click.option("--slots", default=8, show_default=True, help="Requests that it gets at once.")
@click.option(
    "--accepts", default="tools", show_default=True, help="Besides text: tools,image,audio."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def add_remote(
    state: State, name: str, url: str, theirs: str, key: str, price: str, slots: int,
    accepts: str, as_json: bool,
) -> None:  # fmt: skip
    """Register NAME, a model behind somebody's OpenAI-compatible API.

    Its answers are screened, recorded and charged as those of any other; no key is in the artifact.
    """
    from pydantic import ValidationError

    from undercroft.config import reason
    from undercroft.errors import BadInput
    from undercroft.release.remote import RemoteModel, remote

    price_in, price_out = _prices(price)
    wanted = [each for each in accepts.split(",") if each]
    try:
        params = RemoteModel(
            name=name, url=url, model=theirs, key=key, price_in=price_in, price_out=price_out,
            slots=slots, accepts=wanted,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        option = {"name": "NAME", "price_in": "--price", "price_out": "--price"}.get(
            str(first["loc"][0]), f"--{first['loc'][0]}"
        )
        raise BadInput(
            f"{option} cannot be {first['input']!r}.",
            reason(error),
            "See: undercroft model add-remote --help",
        ) from None
    project = state.project()
    (made,) = remote(project, params)
    if key and key not in project.trust.secrets.names() and key not in os.environ:
        click.echo(f"There is no {key} yet. Keep it with: undercroft secret set {key}", err=True)
    if as_json:
        print_json(as_dict(made))
        return
    click.echo(f"{made.ref} is known.")
    click.echo(f"Serve it:  undercroft release change --model {made.ref} --now", err=True)
    click.echo(f"Or let it stand in:  undercroft release change --fallback {made.ref}", err=True)


def _prices(said: str) -> tuple[float, float]:
    try:
        price_in, price_out = (float(each) for each in said.split(","))
    except ValueError:
        raise click.BadParameter(f"{said!r} is not IN,OUT, such as 2.5,10") from None
    return price_in, price_out
