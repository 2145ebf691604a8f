"""``undercroft forgetting``: what a line of models lost on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.files import write
from undercroft.cli.main import State, print_json

if TYPE_CHECKING:
    from undercroft.evaluate.domains import Domain, Measured
    from undercroft.evaluate.forgetting import Loss, Matrix, Verdict
    from undercroft.project import Project


@click.command(
    short_help="What later models lost of what earlier ones knew.",
    epilog="Example:  undercroft forgetting model:docs-base model:docs --text law=law/ "
    "--text mail=dataset:mail --svg lost.svg",
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "--text", "texts", metavar="NAME=SOURCE", multiple=True, required=True,
    help="Held-out text of a domain: a file, a folder, or dataset:NAME. In the order learnt.",
)  # fmt: skip
@click.option("--most", default=0.05, show_default=True, help="Share a perplexity may rise by.")
@click.option("--gate", is_flag=True, help="Exit with 8 when the last model forgot more.")
@click.option("--passages", default=32, show_default=True, help="Read of each domain at most.")
@click.option("--seed", default=20, show_default=True, help="Of which passages, and the interval.")
@click.option("--svg", type=click.Path(path_type=Path), help="Draw the matrix into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def forgetting(
    context: click.Context,
    models: tuple[str, ...],
    texts: tuple[str, ...],
    most: float,
    gate: bool,
    passages: int,
    seed: int,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Compare MODELs, the oldest first, on held-out text of several domains.

    Each model reads the same passages; the matrix has its perplexity on every domain. The last
    model is held against the best before it: a rise of more than --most, chance aside, is
    forgetting. With as many models as domains, or one more that comes first, model n has learnt
    domain n, and the backward transfer is told too.
    """
    from undercroft.evaluate.domains import domain, losses, matrix
    from undercroft.evaluate.forgetting import judge
    from undercroft.settings import EvaluateSettings

    state: State = context.obj
    project = state.project()
    domains = [domain(project, *named(text), passages, seed) for text in texts]
    measured = _measured(project, models, domains)
    found = matrix(domains, measured)
    lost = losses(found, measured, EvaluateSettings(seed=seed))
    verdict = judge(lost, most)
    if as_json:
        print_json(_as_dict(found, measured, lost, verdict))
    else:
        _print(found, measured, verdict)
    if svg is not None:  # last: what took minutes to measure has been told where this fails
        write(svg, _drawn(found))
    if gate and not verdict.passed:
        context.exit(8)


def named(text: str) -> tuple[str, str]:
    """NAME=SOURCE in two; raises `BadInput` for another form."""
    from undercroft.errors import BadInput

    name, _, source = text.partition("=")
    if not name or not source:
        raise BadInput(
            f"{text!r} does not name a domain.",
            "A domain has a name and where its text is.",
            "Write it as NAME=SOURCE, for instance law=texts/law.txt.",
        )
    return name, source


def _measured(project: Project, models: tuple[str, ...], domains: list[Domain]) -> list[Measured]:
    from undercroft.evaluate.causal import load
    from undercroft.evaluate.domains import measure

    found = []
    for ref in models:
        model = load(project, ref)
        click.echo(f"{model.name} reads {len(domains)} domains", err=True)
        found.append(measure(model, domains))
    return found


def _perplexities(found: Matrix) -> list[list[float]]:
    import math

    return [[math.exp(-score) for score in row] for row in found.scores.tolist()]


def _drawn(found: Matrix) -> str:
    from undercroft.evaluate.picture import as_svg

    values = _perplexities(found)
    changes = [
        [first / value - 1 for first, value in zip(values[0], row, strict=True)] for row in values
    ]
    shown = [[f"{value:.2f}" for value in row] for row in values]
    return as_svg("Perplexity by model and domain", found.models, found.domains, shown, changes)


def _as_dict(
    found: Matrix, measured: list[Measured], lost: tuple[Loss, ...], verdict: Verdict
) -> dict[str, Any]:
    from undercroft.evaluate.domains import accuracies

    return {
        **found.as_dict(),
        "perplexity": [[round(each, 4) for each in row] for row in _perplexities(found)],
        "token_accuracy": [[round(each, 4) for each in row] for row in accuracies(measured)],
        "lost": [
            {
                "domain": loss.domain,
                "best_before": loss.best,
                "rise": round(loss.rise, 4),
                "interval": [round(loss.difference.low, 4), round(loss.difference.high, 4)],
                "passages": loss.difference.cases,
                "may_be_chance": loss.is_chance,
            }
            for loss in lost
        ],
        "passed": verdict.passed,
        "reason": verdict.reason,
    }


def _print(found: Matrix, measured: list[Measured], verdict: Verdict) -> None:
    from undercroft.evaluate.domains import accuracies

    width = max(len(name) for name in found.models)
    heads = [max(len(name), 14) for name in found.domains]
    click.echo(
        "perplexity (share of tokens guessed)".ljust(width)[:width]
        + "".join(f"  {name:>{size}}" for name, size in zip(found.domains, heads, strict=True))
    )
    rows = zip(found.models, _perplexities(found), accuracies(measured), strict=True)
    for model, values, shares in rows:
        cells = [
            f"  {f'{value:.2f} ({share:.0%})':>{size}}"
            for value, share, size in zip(values, shares, heads, strict=True)
        ]
        click.echo(f"{model:{width}}" + "".join(cells))
    for words, value in (
        ("backward transfer", found.backward_transfer),
        ("forgetting", found.forgetting),
    ):
        if value is not None:
            click.echo(f"{words}: {value:+.3f} nats a token, mean over what was learnt before")
    click.echo(verdict.reason)
