"""``undercroft data mix``: how much of which group a training set takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.main import State, print_json
from undercroft.errors import BadInput

if TYPE_CHECKING:
    from undercroft.versions.mixture import Mixture, Part

_BAR = 24  # characters of the longest bar
_KEYS = "by, temperature, weights.NAME, max_epochs, chars and seed"


@click.command(
    short_help="Show how much of which group a training set takes.",
    epilog="Example:  undercroft data mix handbook@2 --temperature 2 --against temperature=1",
)
@click.argument("name", metavar="[DATASET]", default="")
@click.option(
    "--by",
    type=click.Choice(["source", "language", "licence", "domain"]),
    help="What makes a group; weights in the file are of its groups, and left with them.",
)
@click.option("--temperature", type=float, help="1: natural proportions; more: more equal.")
@click.option("--weight", "weights", multiple=True, metavar="NAME=X", help="Factor of a group.")
@click.option("--max-epochs", type=int, help="No document is taken more often.")
@click.option("--chars", type=int, help="Size to aim at, in characters; 0: the dataset's.")
@click.option("--seed", type=int, help="Of which documents are taken.")
@click.option("--purpose", default="", help="Of the documents that may serve this one.")
@click.option(
    "--against", metavar="KEY=VALUE,…", help=f"Beside the mixture that differs so: {_KEYS}."
)
@click.option("--groups", default=20, show_default=True, help="Shown at most.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def mix(
    state: State,
    /,
    name: str,
    weights: tuple[str, ...],
    purpose: str,
    against: str | None,
    groups: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Show the mixture that [mixture], or the options in its place, make of a dataset.

    The bar is the share of the mixture, and ░ what the natural share has more. `undercroft data
    export --mixed` writes the mixture of [mixture].
    """
    from undercroft.versions.mixture import adjusted, mixture, regrouped
    from undercroft.versions.names import dataset_of

    project = state.project()
    artifact = dataset_of(project, name)
    changes = {key: value for key, value in options.items() if value is not None}
    changes["weights"] = dict(_weight(text) for text in weights)
    settings = adjusted(project.settings.mixture, changes)
    other = None if against is None else adjusted(settings, _changes(against))
    drawn = mixture(project, artifact, settings, purpose)
    if other is None:
        if as_json:
            print_json(asdict(drawn.mixture))
        else:
            print_mixture(drawn.mixture, groups)
        return
    second = mixture(project, artifact, other, purpose)
    beside = regrouped(second, drawn)
    if as_json:
        print_json(_compared(drawn.mixture, second.mixture, beside))
    else:
        _print_compared(drawn.mixture, second.mixture, beside, groups)


def print_mixture(mixture: Mixture, groups: int = 20) -> None:
    """The table of a mixture, its largest groups first."""
    click.echo(f"{mixture.ref} {mixture}")
    click.echo(f"  {_size(mixture)}")
    head = f"{mixture.settings['by']:28} {'documents':>9}  natural    asked  mixture  epochs"
    click.echo(click.style(f"\n  {head}", bold=True))
    most = max((max(part.natural, part.share) for part in mixture.parts), default=1.0)
    for part in mixture.parts[:groups]:
        numbers = f"{part.natural:>8.2%} {part.asked:>8.2%} {part.share:>8.2%} {part.epochs:>7.2f}"
        note = "  all it can give" if part.is_capped else ""
        line = f"  {_short(part.name)} {part.documents:>9,} {numbers}  {_bar(part, most)}{note}"
        click.echo(line.rstrip())
    _say_more(mixture, groups)


def _print_compared(
    first: Mixture, second: Mixture, beside: Mapping[str, Part], groups: int
) -> None:
    for letter, each in (("A", first), ("B", second)):
        click.echo(f"{letter}  {each.ref} {each}")
        click.echo(f"   {_size(each)}")
    head = f"{first.settings['by']:28} {'documents':>9}  natural        A        B"
    click.echo(click.style(f"\n  {head}      B-A  epochs A and B", bold=True))
    for part in first.parts[:groups]:
        other = beside[part.name]
        shares = f"{part.natural:>8.2%} {part.share:>8.2%} {other.share:>8.2%}"
        difference = f"{100 * (other.share - part.share):>+8.2f}"
        epochs = f"{part.epochs:>8.2f} {other.epochs:>6.2f}"
        click.echo(f"  {_short(part.name)} {part.documents:>9,} {shares} {difference} {epochs}")
    _say_more(first, groups)


def _compared(first: Mixture, second: Mixture, beside: Mapping[str, Part]) -> dict[str, Any]:
    return {
        "mixture": asdict(first),
        "against": asdict(second),
        "groups": [
            {
                "name": part.name,
                "share": part.share,
                "against": beside[part.name].share,
                "difference": beside[part.name].share - part.share,
            }
            for part in first.parts
        ],
    }


def _size(mixture: Mixture) -> str:
    size = f"{mixture.rows:,} rows of {mixture.documents:,} documents, {mixture.chars:,} characters"
    short = "; no group can give more" if mixture.is_short else ""
    return f"{size} of {mixture.asked_chars:,} asked for{short}"


def _say_more(mixture: Mixture, groups: int) -> None:
    if len(mixture.parts) > groups:
        click.echo(f"  … and {len(mixture.parts) - groups} more (--groups, --json)")


def _bar(part: Part, most: float) -> str:
    length = round(_BAR * max(part.natural, part.share) / most)
    filled = round(_BAR * part.share / most)
    return "█" * filled + "░" * (length - filled)


def _short(name: str) -> str:
    return f"{name if len(name) <= 28 else f'{name[:27]}…':28}"


def _weight(text: str) -> tuple[str, float]:
    name, _, factor = text.rpartition("=")
    try:
        return name, float(factor)
    except ValueError:
        raise BadInput(
            f"The weight {text!r} is not NAME=X.",
            "X is a number, the factor of the group's share.",
            "Example: undercroft data mix --by language --weight en=0.5",
        ) from None


def _changes(text: str) -> dict[str, Any]:
    """What ``--against`` says: pairs of keys and values, with commas between them."""
    changes: dict[str, Any] = {"weights": {}}
    for pair in filter(None, (each.strip() for each in text.split(","))):
        key, separator, value = pair.partition("=")
        if not separator:
            raise BadInput(
                f"{pair!r} in --against is not KEY=VALUE.",
                f"Keys are {_KEYS}.",
                "Example: undercroft data mix --against temperature=1,by=source",
            )
        key = key.strip()
        if key.startswith("weights."):
            changes["weights"].update([_weight(pair.strip().removeprefix("weights."))])
        else:
            changes[key.replace("-", "_")] = value.strip()
    return changes
