"""``undercroft memorisation``: what a model gives back of what it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.main import State, print_json

if TYPE_CHECKING:
    from undercroft.evaluate.canaries import Exposure
    from undercroft.evaluate.causal import CausalModel
    from undercroft.evaluate.memorisation import Extraction, Overlap
    from undercroft.project import Project


@click.group(epilog="Example:  undercroft memorisation check model:docs --trained dataset:docs")
def memorisation() -> None:
    """Measure what of its training text a model gives back word by word."""


@memorisation.command(epilog="Example:  undercroft memorisation canaries docs/canaries.jsonl")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--count", default=10, show_default=True, help="How many.")
@click.option("--seed", default=20, show_default=True, help="Of the secrets.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def canaries(file: Path, count: int, seed: int, as_json: bool) -> None:
    """Write random secrets to FILE (JSON Lines), to be put among the documents trained on.

    Check a model that was trained with them by: undercroft memorisation check --canaries FILE
    """
    from undercroft.evaluate.canaries import draw, write

    made = draw(count, seed)
    write(made, file)
    if as_json:
        print_json({"file": str(file), "canaries": [each.id for each in made]})
        return
    click.echo(f"wrote {len(made)} canaries to {file}; the first: {made[0].text}")


@memorisation.command(
    epilog="Example:  undercroft memorisation check model:docs --trained dataset:docs "
    "--held-out other.txt --canaries docs/canaries.jsonl"
)
@click.argument("model", metavar="MODEL")
@click.option("--trained", metavar="SOURCE", help="What it was trained on: as for forgetting.")
@click.option("--held-out", metavar="SOURCE", help="Like text that it was not trained on.")
@click.option("--canaries", type=click.Path(path_type=Path), help="Canaries among its documents.")
@click.option("--candidates", default=512, show_default=True, help="Secrets that each is held to.")
@click.option("--prefix", "prefixes", type=int, multiple=True, help="Tokens shown; several times.")
@click.option("--tokens", default=32, show_default=True, help="To be given back after a prefix.")
@click.option("--written", default=16, show_default=True, help="Texts that it writes by itself.")
@click.option("--passages", default=32, show_default=True, help="Read of each source at most.")
@click.option("--seed", default=20, show_default=True, help="Of all that is drawn.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def check(
    state: State,
    /,
    model: str,
    trained: str | None,
    held_out: str | None,
    canaries: Path | None,
    candidates: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Ask MODEL for its training text, in up to three ways.

    With --canaries, how exposed each secret is, in bits: about 1 where nothing was kept, and at
    most log2 of --candidates. With --trained, how often the model goes on as the text does after so
    many tokens of it, and how long the runs of words are that it writes by itself and that stand in
    the text; both also of --held-out, which says how much of it anybody would guess.
    """
    from undercroft.evaluate.canaries import exposure, read
    from undercroft.evaluate.causal import load

    if not trained and not canaries:
        raise click.UsageError("Give --trained, --canaries, or both.")
    project = state.project()
    secrets = read(canaries) if canaries else []
    asked = load(project, model)
    exposures = [exposure(asked, each, candidates, options["seed"]) for each in secrets]
    found = _of_texts(project, asked, (trained, held_out), options) if trained else {}
    if as_json:
        print_json(_as_dict(asked.name, exposures, found))
        return
    click.echo(asked.name)
    _print_exposures(exposures)
    _print_texts(found)


def _of_texts(
    project: Project, model: CausalModel, sources: tuple[str, str | None], options: dict[str, Any]
) -> dict[str, Any]:
    """Extraction and overlap, of the trained text and of that held out."""
    from undercroft.evaluate.domains import domain, texts_of
    from undercroft.evaluate.memorisation import PREFIXES, extraction, overlap, written
    from undercroft.evaluate.overlap import Body

    trained, held_out = sources
    most, seed = options["passages"], options["seed"]
    prefixes, tokens = options["prefixes"] or PREFIXES, options["tokens"]
    body = Body(texts_of(project, trained))
    passages = {
        name: domain(project, name, source, most, seed).passages
        for name, source in (("trained", trained), ("held out", held_out))
        if source
    }
    said = written(model, options["written"], 2 * tokens, seed)
    found: dict[str, Any] = {
        "extraction": {
            name: extraction(model, texts, prefixes, tokens) for name, texts in passages.items()
        },
        "overlap": {"written": overlap(body, said)},
    }
    if held_out:
        own = [
            model.tokenizer.decode(model.tokens(text)[: 2 * tokens])
            for text in passages["held out"]
        ]
        found["overlap"]["held out"] = overlap(body, own)
    return found


def _as_dict(name: str, exposures: list[Exposure], found: dict[str, Any]) -> dict[str, Any]:
    from undercroft.evaluate.memorisation import as_dict

    return {
        "model": name,
        "canaries": [
            {**as_dict(each), "bits": round(each.bits, 3), "p": round(each.p, 5)}
            for each in exposures
        ],
        "extraction": {
            of: [as_dict(each) for each in lines]
            for of, lines in found.get("extraction", {}).items()
        },
        "overlap": {of: as_dict(each) for of, each in found.get("overlap", {}).items()},
    }


def _print_exposures(exposures: list[Exposure]) -> None:
    if not exposures:
        return
    import math
    import statistics

    most = math.log2(exposures[0].candidates)
    middle = statistics.median(each.bits for each in exposures)
    click.echo(
        f"exposure of {len(exposures)} canaries: {middle:.1f} of {most:.1f} bits in the median"
    )
    for each in sorted(exposures, key=lambda each: each.rank):
        click.echo(
            f"  {each.canary}  {each.bits:.1f} bits, rank {each.rank:,} of {each.candidates:,}"
        )


def _print_texts(found: dict[str, Any]) -> None:
    lines: list[Extraction]
    for of, lines in found.get("extraction", {}).items():
        click.echo(f"given back whole after so many tokens of {of} text:")
        for each in lines:
            click.echo(
                f"  {each.prefix:4}  {each.extracted:6.1%} of {each.places:,} places, "
                f"{each.mean_tokens:.1f} tokens right before the first wrong one"
            )
    one: Overlap
    for of, one in found.get("overlap", {}).items():
        click.echo(
            f"longest run of words in the trained text, {of}: {one.median:.0f} in the median, "
            f"{one.longest} at most ({one.example!r})"
        )
