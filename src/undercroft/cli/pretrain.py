"""``undercroft pretrain``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.artifacts import as_dict, by_ranks, size
from undercroft.cli.curve import curve
from undercroft.cli.main import State, print_json
from undercroft.errors import BadInput

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.records import Artifact
    from undercroft.settings import PretrainSettings
    from undercroft.train.models.memory import Estimate


@click.command(
    epilog="Example:  undercroft pretrain handbook --minutes 10 --layers 6 --width 256 --estimate"
)
@click.argument("name", metavar="[DATASET]", default="")
@click.option("--base", metavar="REF", help="Go on from this model; else from random weights.")
@click.option("--minutes", type=float, help="Wall-clock budget of training.")
@click.option("--steps", "max_steps", type=int, help="Stop after so many; 0: the minutes decide.")
@click.option("--layers", type=int, help="Blocks of attention and feed-forward.")
@click.option("--width", type=int, help="Size of a token's vector.")
@click.option("--heads", type=int, help="Attention heads.")
@click.option("--kv-heads", type=int, help="Heads of keys and values.")
@click.option("--vocabulary", type=int, help="Tokens; 0: as many as the text gives, up to 8192.")
@click.option("--context", type=int, help="Tokens of a sequence.")
@click.option("--processes", type=int, help="Processes that train it together.")
@click.option("--seed", type=int, help="Of order and first weights.")
@click.option("--estimate", "only_estimate", is_flag=True, help="Say its size and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def pretrain(
    state: State,
    /,
    name: str,
    processes: int | None,
    only_estimate: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model and its tokenizer from random weights on a dataset, or go on with one.

    DATASET is a name, NAME@VERSION or NAME@TAG; without one the project's own. With --base the
    model's shape and tokenizer are the base's, and l2_to_base and kl_to_base hold it to what that
    knew. Options stand in place of the settings under [pretrain]. A run that was stopped goes on
    where it was.
    """
    from undercroft.config import changed
    from undercroft.train.pretrain import foresee
    from undercroft.versions.names import dataset_of

    project = state.project()
    options["parallel.processes"] = processes
    params = changed("pretrain", project.settings.pretrain, options, "pretrain")
    start = {"base": project.ledger.artifact(params.base)} if params.base else {}
    if not start:
        foreseen = foresee(params, is_one_machine=project.settings.cluster.engine == "native")
    if only_estimate:
        if start:
            raise BadInput(
                "There is nothing to estimate.",
                "With a base the model's size is the base's.",
                f"See it with: undercroft show {params.base}",
            )
        _print_estimate(params, foreseen, as_json)
        return
    inputs = {"dataset": dataset_of(project, name), **start}
    model = _train(project, params, inputs, as_json)
    if as_json:
        print_json(as_dict(model))
        return
    _print_model(project, model)


def _print_estimate(params: PretrainSettings, foreseen: Estimate, as_json: bool) -> None:
    if as_json:
        print_json(foreseen.as_dict())
        return
    most = "at most " if not params.vocabulary else ""
    click.echo(f"{most}{foreseen.parameters:,} parameters")
    click.echo(f"{size(foreseen.total_bytes)} of memory to train, of which")
    click.echo(f"  {size(foreseen.state_bytes)} weights, gradients and optimizer")
    click.echo(f"  {size(foreseen.activation_bytes)} kept by a forward pass")


def _train(
    project: Project, params: PretrainSettings, inputs: Mapping[str, Artifact], as_json: bool
) -> Artifact:
    """Carry the stage out on its queue, by a worker of our own, with progress."""
    from undercroft.cli.live import watcher_for
    from undercroft.jobs import Queued, carry_out
    from undercroft.train.pretrain import pretrain as stage

    runner = Queued()
    try:
        with watcher_for(as_json, project) as watcher:
            (made,) = carry_out(
                project,
                lambda: stage.plan(project, params, **inputs),
                runner,
                watcher,
                step=stage.name,
            )
            return made
    finally:
        runner.close()


def _print_model(project: Project, model: Artifact) -> None:
    meta = model.meta
    click.echo(f"{model.ref}  {meta['parameters']:,} parameters, {meta['vocabulary']:,} tokens")
    click.echo(
        f"  {meta['steps']:,} steps, {meta['tokens']:,} tokens read "
        f"({meta['epochs']:.2f} times through {meta['documents']:,} documents), "
        f"{meta['tokens_per_s']:,.0f} tokens/s"
    )
    click.echo(by_ranks(meta), nl=False)
    losses = [detail["loss"] for _, _, detail in project.ledger.events(model.run_id, "metric")]
    click.echo(f"  loss {meta['first_loss']:.3f} → {meta['last_loss']:.3f}  {curve(losses)}")
    click.echo(f"  every step: undercroft runs {model.run_id}")
    click.echo(f"  what it read: undercroft lineage {model.ref} --documents")
