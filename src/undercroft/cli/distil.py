"""``undercroft distil``: a model that says what another would say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.artifacts import as_dict, damaged
from undercroft.cli.curve import curve
from undercroft.cli.main import State, print_json

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.records import Artifact
    from undercroft.settings import DistilSettings
    from undercroft.stage import Plan


@click.command(
    short_help="Train a model to say what another would say.",
    epilog="Examples:  undercroft distil --teacher model:handbook    "
    "undercroft distil dataset:handbook --teacher model:large --student model:small --minutes 20",
)
@click.argument("source", metavar="[SOURCE]", default="")
@click.option("--teacher", required=True, metavar="REF", help="The model that is learnt from.")
@click.option("--student", metavar="REF", help="The model that learns; else the project's base.")
@click.option("--top-k", type=int, help="Likeliest tokens of the teacher that are kept.")
@click.option("--temperature", type=float, help="Above 1 unlikely tokens weigh more.")
@click.option("--share", type=float, help="The teacher's share of the loss, up to 1.")
@click.option("--minutes", type=float, help="Wall-clock budget of training.")
@click.option("--steps", "max_steps", type=int, help="Stop after so many; 0: the minutes decide.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--lora-rank", type=int, help="Of the adapters; 0: train the weights.")
@click.option("--seed", type=int, help="Of order and first weights.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def distil(
    state: State,
    /,
    source: str,
    teacher: str,
    student: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a student to give every word the probability that a teacher gives it.

    SOURCE is what both are shown: examples:NAME, or dataset:NAME to learn from documents as they
    are; without it the project's own examples. Both models must have one tokenizer. What the
    teacher says is kept, and found again by other students. Options stand in place of the settings
    under [distil]. A run that was stopped goes on where it was.
    """
    from undercroft.config import changed
    from undercroft.train.distil import check_text_model, same_tokens

    project = state.project()
    params = changed("distil", project.settings.distil, options, "distil")
    inputs = {
        "teacher": project.ledger.artifact(teacher),
        "base": project.ledger.artifact(student or f"model:{project.name}-base"),
        "source": project.ledger.artifact(source or f"examples:{project.name}"),
    }
    check_text_model(inputs["teacher"], "a teacher")
    check_text_model(inputs["base"], "a student")
    same_tokens(project, inputs["base"], inputs["teacher"])
    told, made = _carried_out(project, params, inputs, as_json)
    if as_json:
        print_json({"lessons": as_dict(told), "model": as_dict(made)})
        return
    _print(project, told, made)


def _carried_out(
    project: Project, params: DistilSettings, inputs: dict[str, Artifact], as_json: bool
) -> tuple[Artifact, Artifact]:
    """Both stages on their queues, by a worker of our own, with progress."""
    from undercroft.cli.live import watcher_for
    from undercroft.jobs import Queued, carry_out
    from undercroft.train.distil import lessons, student
    from undercroft.train.material import artifacts_beside

    asked = {name: inputs[name] for name in ("teacher", "source")}
    runner = Queued()
    try:
        with watcher_for(as_json, project) as watcher:
            (told,) = carry_out(
                project,
                lambda: lessons.plan(project, params.lessons, **asked),
                runner,
                watcher,
                step=lessons.name,
            )

            def plan() -> Plan:
                beside = artifacts_beside(project, params, "distil")
                return student.plan(project, params, lessons=told, **inputs, **beside)

            (made,) = carry_out(project, plan, runner, watcher, step=student.name)
            return told, made
    finally:
        runner.close()


def _print(project: Project, told: Artifact, made: Artifact) -> None:
    meta = made.meta
    click.echo(f"{made.ref}  learnt from {told.meta['teacher']}, {meta['parameters']:,} parameters")
    click.echo(
        f"  {told.meta['targets']:,} targets with the {told.meta['top_k']} likeliest tokens of the "
        f"teacher: {told.ref}"
    )
    points = [detail for _, _, detail in project.ledger.events(made.run_id, "metric")]
    distances = [point["teacher_kl"] for point in points if "teacher_kl" in point]
    click.echo(f"  {meta['steps']:,} steps, {meta['examples']:,} examples read")
    if distances:
        click.echo(
            f"  distance to the teacher {distances[0]:.3f} → {distances[-1]:.3f} nats a token  "
            f"{curve(distances)}"
        )
    click.echo(damaged(meta), nl=False)
    click.echo(f"  every step: undercroft runs {made.run_id}")
    click.echo(f"  what it read: undercroft lineage {made.ref} --documents")
