"""``undercroft align``: a model that prefers what was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.artifacts import as_dict, by_ranks, damaged
from undercroft.cli.main import State, print_json

if TYPE_CHECKING:
    from undercroft.jobs import Queued, Watcher
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
@click.option("--processes", type=int, help="Processes that train it together.")
@click.option("--seed", type=int, help="Of order and first weights.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def align(
    state: State,
    /,
    sources: tuple[str, ...],
    parent: str | None,
    name: str | None,
    processes: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on pairs of answers of which one was chosen.

    PAIRS are files of JSON Lines or Parquet, or folders of them ({"prompt": "…", "chosen": "…",
    "rejected": "…"}, texts or lists of messages), `traffic:` for what people liked and did not like
    here, with consent, or preferences:NAME for pairs gathered before. What is no pair is left out
    and kept with the reason. Options stand in place of the settings under
    [align]. What comes of it is a model like any other; a run that was stopped goes on where it
    was.
    """
    from undercroft.config import changed

    project = state.project()
    options["parallel.processes"] = processes
    params = changed("align", project.settings.align, options, "align")
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
    from undercroft.jobs import Queued, carry_out
    from undercroft.train.align import align as stage
    from undercroft.train.material import artifacts_beside

    runner = Queued()
    try:
        with watcher_for(as_json, project) as watcher:
            pairs = _gathered(project, sources, name, (runner, watcher))

            def plan() -> Plan:
                beside = artifacts_beside(project, params, "align")
                return stage.plan(project, params, model=model, preferences=pairs, **beside)

            (made,) = carry_out(project, plan, runner, watcher, step=stage.name)
            return pairs, made
    finally:
        runner.close()


def _gathered(
    project: Project, sources: tuple[str, ...], name: str | None, how: tuple[Queued, Watcher]
) -> Artifact:
    """The pairs as an artifact: the one that is named, or made of files and traffic."""
    from pydantic import ValidationError

    from undercroft.collect.preferences import PairSources, preferences
    from undercroft.errors import BadInput
    from undercroft.jobs import carry_out

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
    runner, watcher = how
    (made,) = carry_out(
        project,
        lambda: preferences.plan(project, chosen),
        runner,
        watcher,
        step=preferences.name,
    )
    return made


def _name_of(source: str) -> str:
    return "traffic" if source.startswith(_TRAFFIC) else Path(source).stem.lower().replace(" ", "-")


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
    click.echo(by_ranks(meta) + damaged(meta), nl=False)
    click.echo(f"  every step: undercroft runs {made.run_id}")
