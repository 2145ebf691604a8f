"""``undercroft align``: a model that prefers what was chosen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.artifacts import as_dict
from undercroft.cli.main import State, print_json

if TYPE_CHECKING:
    from undercroft.jobs import Queued
    from undercroft.loop import Watcher
    from undercroft.project import Project
    from undercroft.records import Artifact
    from undercroft.settings import AlignSettings
    from undercroft.stage import Plan

_REF = "preferences:"
_TRAFFIC = "traffic:"


@click.command(
    short_help="Train a model to prefer what was chosen.",
    epilog="Examples:  undercroft align pairs.jsonl --objective dpo --minutes 5    "
    "undercroft align traffic:",
)
@click.argument("sources", metavar="PAIRS...", nargs=-1, required=True)
@click.option("--objective", type=click.Choice(["dpo", "ipo", "reward"]), help="What is minimised.")
@click.option("--model", "parent", metavar="REF", help="The parent; else the project's own model.")
@click.option("--name", help="Names the pairs; else their first file does.")
@click.option("--beta", type=float, help="More stays closer to the parent (dpo, ipo).")
@click.option("--minutes", type=float, help="Wall-clock budget of training.")
@click.option("--steps", "max_steps", type=int, help="Stop after so many; 0: the minutes decide.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--lora-rank", type=int, help="Of the adapters; 0: train the weights.")
@click.option("--seed", type=int, help="Of order and first weights.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def align(
    state: State,
    /,
    sources: tuple[str, ...],
    parent: str | None,
    name: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on pairs of answers of which one was chosen.

    PAIRS are files of JSON Lines ({"prompt": "…", "chosen": "…", "rejected": "…"}, texts or lists
    of messages), `traffic:` for what people liked and did not like here, with consent, or
    preferences:NAME for pairs gathered before. Options stand in place of the settings under
    [align]. What comes of it is a model like any other; a run that was stopped goes on where it
    was.
    """
    project = state.project()
    params = _changed(project.settings.align, options)
    model = project.ledger.artifact(parent or f"model:{project.name}")
    pairs, made = _carried_out(project, params, sources, name, model, as_json)
    if as_json:
        print_json({"preferences": as_dict(pairs), "model": as_dict(made)})
        return
    _print(pairs, model, made)


def _carried_out(
    project: Project,
    params: AlignSettings,
    sources: tuple[str, ...],
    name: str | None,
    model: Artifact,
    as_json: bool,
) -> tuple[Artifact, Artifact]:
    """Both stages on their queues, by a worker of our own, with progress."""
    from undercroft.cli.live import watcher_for
    from undercroft.jobs import Queued
    from undercroft.train.align import align as stage

    runner = Queued()
    try:
        with watcher_for(as_json, project) as watcher:
            pairs = _gathered(project, sources, name, (runner, watcher))
            plan = stage.plan(project, params, model=model, preferences=pairs)
            return pairs, _step(project, plan, 2, (runner, watcher))
    finally:
        runner.close()


def _gathered(
    project: Project, sources: tuple[str, ...], name: str | None, how: tuple[Queued, Watcher]
) -> Artifact:
    """The pairs as an artifact: the one that is named, or made of files and traffic."""
    from pydantic import ValidationError

    from undercroft.collect.preferences import PairSources, preferences
    from undercroft.errors import BadInput

    if len(sources) == 1 and sources[0].startswith(_REF):
        return project.ledger.artifact(sources[0])
    paths = [each if each.startswith(_TRAFFIC) else str(Path(each).resolve()) for each in sources]
    called = name or _name_of(sources[0])
    try:
        chosen = PairSources(name=called, sources=paths)
    except ValidationError:
        raise BadInput(
            f"Pairs cannot be named {called!r}.",
            "Names are lower-case letters, digits, dots, dashes and underscores.",
            "Name them with --name, for instance --name short-answers.",
        ) from None
    return _step(project, preferences.plan(project, chosen), 1, how)


def _name_of(source: str) -> str:
    return "traffic" if source.startswith(_TRAFFIC) else Path(source).stem.lower().replace(" ", "-")


def _step(project: Project, plan: Plan, number: int, how: tuple[Queued, Watcher]) -> Artifact:
    from undercroft.stage import remembered

    runner, watcher = how
    started = time.monotonic()
    watcher.started(plan.stage, number)
    found = remembered(project, plan)
    is_reused = found is not None
    if found is None:
        found = runner.run(project, plan, lambda told: watcher.progressed(plan.stage, told))
    watcher.finished(plan.stage, time.monotonic() - started, is_reused)
    return found[0]


def _changed(settings: AlignSettings, options: Mapping[str, Any]) -> AlignSettings:
    """``settings`` with the options given; raises `BadConfig` for a value that is none."""
    from pydantic import ValidationError

    from undercroft.errors import BadConfig

    given = {key: value for key, value in options.items() if value is not None}
    try:
        return type(settings).model_validate({**settings.model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadConfig(
            f"align.{key} cannot be {first['input']!r}.",
            f"{first['msg']}.",
            "See: undercroft align --help",
        ) from None


def _print(pairs: Artifact, parent: Artifact, made: Artifact) -> None:
    meta = made.meta
    click.echo(f"{made.ref}  {meta['objective']} on {pairs.ref}, from {parent.ref}")
    unused = {
        "refused": pairs.meta["refused"],
        "too long": meta["too_long"],
        "with a destroyed key": meta["gone"],
    }
    told = "".join(f", {count:,} {what}" for what, count in unused.items() if count)
    click.echo(f"  {meta['pairs']:,} pairs{told}")
    for reason, count in pairs.meta["reasons"].items():
        click.echo(f"    {count:,} because {reason}")
    click.echo(
        f"  {meta['steps']:,} steps, {meta['examples']:,} pairs read, loss "
        f"{meta['first_loss']:.3f} → {meta['last_loss']:.3f}"
    )
    click.echo(f"  every step: undercroft runs {made.run_id}")
