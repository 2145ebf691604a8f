"""``undercroft plan``."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.main import print_json

if TYPE_CHECKING:
    from undercroft.train.planning import Advice, Candidate

_GB = 10**9
_MOST_OTHERS = 8


def _above_zero(
    context: click.Context, option: click.Parameter, value: float | None
) -> float | None:
    """A number, if any is given; click's own ranges let NaN pass."""
    del context, option
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter(f"{value:g} is not a number above 0.")
    return value


@click.command(epilog="Example:  undercroft plan 8B --devices 8 --memory 80 --context 8192")
@click.argument("model", metavar="MODEL")
@click.option("--devices", default=1, show_default=True, type=click.IntRange(1), help="In all.")
@click.option(
    "--memory",
    type=float,
    callback=_above_zero,
    help="GB of each; else what is free here, on a device if there is one.",
)
@click.option(
    "--per-node", default=8, show_default=True, type=click.IntRange(1), help="Devices of a node."
)
@click.option(
    "--context",
    default=4096,
    show_default=True,
    type=click.IntRange(1),
    help="Tokens of a sequence.",
)
@click.option(
    "--batch", default=0, type=click.IntRange(0), help="Sequences a step; 0: eight for a device."
)
@click.option(
    "--micro-batch", default=1, show_default=True, type=click.IntRange(1), help="Of them at once."
)
@click.option(
    "--precision", default="auto", show_default=True,
    type=click.Choice(["auto", "bf16", "fp16", "fp32", "fp8"]),
    help="Number format of weights and activations; auto: bf16, or fp16 where there is no bf16.",
)  # fmt: skip
@click.option(
    "--optimizer", default="adamw", show_default=True, type=click.Choice(["adamw", "muon"]),
    help="Muon keeps one moment of the matrices of blocks, where these are whole.",
)  # fmt: skip
@click.option(
    "--bf16/--no-bf16", "has_bf16", default=True, show_default=True,
    help="Whether devices multiply in bf16; V100 and T4 do not.",
)  # fmt: skip
@click.option(
    "--tflops",
    type=float,
    callback=_above_zero,
    help="That a device sustains; else about an H100's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def plan(
    model: str,
    devices: int,
    memory: float | None,
    per_node: int,
    context: int,
    batch: int,
    micro_batch: int,
    precision: str,
    optimizer: str,
    has_bf16: bool,
    tflops: float | None,
    as_json: bool,
) -> None:
    """Choose how to lay MODEL over devices for training, and say what memory that takes.

    MODEL is a size (135M, 1B, 3B, 8B, 70B, 405B), a model's folder, or its config.json. Of all
    layouts that fit the fastest is chosen, or the simplest of those that are about as fast; times
    are rough, and for choosing only. Nothing is allocated.
    """
    from undercroft.train.models.anatomy import anatomy
    from undercroft.train.planning import Machine, Wanted, advise

    if memory is None:
        from undercroft.train.room import free_for

        memory = free_for("auto")[0] / _GB
    batch = batch or 8 * devices
    wanted = Wanted(anatomy(model), context, batch, micro_batch, precision, optimizer)
    speeds = {} if tflops is None else {"flops_per_s": tflops * 1e12}
    advice = advise(wanted, Machine(devices, int(memory * _GB), per_node, has_bf16, **speeds))
    if as_json:
        print_json(as_dict(advice))
        return
    _show(advice)


def as_dict(advice: Advice) -> dict[str, Any]:
    """The JSON form of an advice."""
    return {
        **_as_dict(advice.chosen),
        "precision": advice.precision,
        "settings": advice.chosen.settings(),
        "why": list(advice.reasons),
        "considered": [{**_as_dict(each), "why_not": why} for each, why in advice.others],
    }


def _as_dict(candidate: Candidate) -> dict[str, Any]:
    return {
        "plan": asdict(candidate.plan),
        "schedule": candidate.load.schedule if candidate.plan.pipeline > 1 else None,
        "activation_checkpointing": candidate.load.recomputes,
        "micro_batches": candidate.load.micro_batches,
        "idle": round(candidate.idle, 4),
        "memory": candidate.memory.as_dict(),
    }


def _show(advice: Advice) -> None:
    from undercroft.train.planning import said

    chosen = advice.chosen
    memory = chosen.memory
    click.echo(f"{memory.parameters:,} parameters: {chosen.kind}")
    for reason in advice.reasons:
        click.echo(f"  {reason}")
    click.echo(f"{said(memory.total_bytes)} on the device that takes most, of which")
    for name in ("weights", "gradients", "masters", "moments", "checkpoint", "activations",
                 "logits"):  # fmt: skip
        click.echo(f"  {name:12} {said(getattr(memory, name)):>12}")
    click.echo("Write under [pretrain.parallel], [train.parallel] or [align.parallel]:")
    for name, value in chosen.settings().items():
        shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
        click.echo(f"  {name} = {shown}")
    click.echo(f'and above it: precision = "{advice.precision}"')
    if advice.others:
        click.echo("Considered:")
    for each, why in advice.others[:_MOST_OTHERS]:
        click.echo(f"  {each.kind}: {why}")
