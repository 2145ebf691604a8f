"""How to lay a model over devices: the plan that should be fastest of those that fit.

Memory is the estimate of `models.memory`. Time is a rough one, for choosing among plans only: work
at a speed that devices sustain, bubbles of the pipeline, and messages of which none is hidden
behind work. It has been held to no cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from undercroft.errors import BadInput
from undercroft.settings.parallel import FP8_UNITS
from undercroft.train.models.anatomy import Anatomy
from undercroft.train.models.memory import Estimate, Load, estimate
from undercroft.train.parallel.orders import order
from undercroft.train.parallel.plan import Plan

_MOST_STAGES: Final = 32
_MOST_DEVICES: Final = 65_536
#: Of a device's memory; the rest is for what allocators and libraries take.
_USABLE: Final = 0.9
#: Plans that differ by less are as fast; then the simplest is taken.
_AS_FAST: Final = 1.1
_BF16, _FLOAT = 2, 4


@dataclass(frozen=True, slots=True)
class Machine:
    """``devices`` in nodes of ``per_node``.

    Speeds are sustained ones: operations of a device, and bytes between two of them, within a node
    and between nodes. The defaults are about what an H100 with NVLink and 400 Gbit/s has. It
    ``has_bf16`` if its devices multiply in that, as NVIDIA's do since Ampere.
    """

    devices: int
    memory_bytes: int
    per_node: int = 8
    has_bf16: bool = True
    flops_per_s: float = 400e12
    node_bytes_per_s: float = 300e9
    net_bytes_per_s: float = 40e9


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model to be trained by steps of ``batch_size`` sequences of ``context`` tokens.

    ``precision`` "auto" leaves the number format to the planner. ``optimizer`` is that of the
    settings; empty: Muon where matrices are whole.
    """

    model: Anatomy
    context: int
    batch_size: int
    micro_batch_size: int = 1
    precision: str = "bf16"
    optimizer: str = "adamw"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to lay it out; ``step_s`` is the rough time of a step."""

    plan: Plan
    load: Load
    memory: Estimate
    step_s: float
    idle: float

    @property
    def kind(self) -> str:
        """Its plan in a word, such as ``replicate 2 x tensor 4``."""
        parts = [("replicate", self.plan.replicate), ("shard", self.plan.shard),
                 ("tensor", self.plan.tensor), ("pipeline", self.plan.pipeline)]  # fmt: skip
        said = " x ".join(f"{name} {size}" for name, size in parts if size > 1) or "one process"
        said += f", {self.load.schedule}" * (self.plan.pipeline > 1)
        return said + ", activations computed again" * self.load.recomputes

    def settings(self) -> dict[str, str | int | bool]:
        """What to write under ``parallel`` in a section of the settings."""
        plan, load = self.plan, self.load
        found: dict[str, str | int | bool] = {"processes": plan.size}
        sizes = {"shard": plan.shard, "tensor": plan.tensor, "pipeline": plan.pipeline}
        found |= {name: size for name, size in sizes.items() if size > 1}
        if load.sequence:
            found["sequence"] = True
        if plan.pipeline > 1:
            found["schedule"] = load.schedule
        if load.recomputes:
            found["activation_checkpointing"] = True
        return found


@dataclass(frozen=True, slots=True)
class Advice:
    """The ``chosen`` plan and why, and the best of each other kind with what speaks against it."""

    chosen: Candidate
    precision: str
    reasons: tuple[str, ...]
    others: tuple[tuple[Candidate, str], ...]


def advise(wanted: Wanted, machine: Machine) -> Advice:
    """The plan for ``machine``; raises `BadInput` that says what would fit where none does."""
    if wanted.precision == "auto":
        wanted = replace(wanted, precision="bf16" if machine.has_bf16 else "fp16")
    found = list(candidates(wanted, machine))
    room = int(machine.memory_bytes * _USABLE)
    fitting = [each for each in found if each.memory.total_bytes <= room]
    if not fitting:
        raise _refusal(wanted, machine, found, room)
    fast = min(each.step_s for each in fitting) * _AS_FAST
    chosen = min(
        (each for each in fitting if each.step_s <= fast),
        key=lambda each: (_parts(each.plan), each.step_s),
    )
    reasons = (*_reasons(chosen, found, room), _format_reason(wanted.precision, machine))
    return Advice(chosen, wanted.precision, reasons, tuple(_others(chosen, found, room)))


def candidates(wanted: Wanted, machine: Machine) -> Iterator[Candidate]:
    """All ways in which the model can be laid over the devices, whether or not it fits."""
    model = wanted.model
    for tensor in _divisors(machine.devices):
        shared = (model.heads, model.kv_heads, model.feed_forward)
        if tensor > machine.per_node or any(size % tensor for size in shared):
            continue
        for pipeline in _divisors(machine.devices // tensor):
            if pipeline > min(model.layers, _MOST_STAGES):
                continue
            for shard in _divisors(machine.devices // tensor // pipeline):
                plan = Plan(1, shard, tensor, pipeline).filled(machine.devices)
                if wanted.batch_size < plan.data * wanted.micro_batch_size:
                    continue
                for load in _loads(wanted, plan):
                    yield _candidate(wanted, machine, plan, load)


def _loads(wanted: Wanted, plan: Plan) -> Iterator[Load]:
    each = -(-wanted.batch_size // (plan.data * wanted.micro_batch_size))
    schedules = ["1f1b"]
    if plan.pipeline > 1:
        schedules += ["interleaved"] * (wanted.model.layers >= 2 * plan.pipeline)
        schedules += ["zero_bubble"] * (plan.shard == 1)
    for schedule in schedules:
        for recomputes in (False, True):
            yield Load(
                wanted.context, wanted.micro_batch_size, each, wanted.precision,
                recomputes, plan.tensor > 1, schedule, optimizer=wanted.optimizer,
            )  # fmt: skip


def _candidate(wanted: Wanted, machine: Machine, plan: Plan, load: Load) -> Candidate:
    idle = 0.0
    if plan.pipeline > 1:
        chunks = load.chunks if load.schedule == "interleaved" else 1
        idle = order(load.schedule, plan.pipeline, chunks, load.micro_batches).idle
    work = _work_s(wanted, machine, plan, load) / (1 - idle)
    step_s = work + _messages_s(wanted, machine, plan, load)
    return Candidate(plan, load, estimate(wanted.model, load, plan), step_s, idle)


def _work_s(wanted: Wanted, machine: Machine, plan: Plan, load: Load) -> float:
    """Six operations a parameter and token, and those of attention, of which half is masked
    (Chowdhery et al. 2022, appendix B); a third more where the forward pass is made twice."""
    model = wanted.model
    scores = 6 * model.layers * model.heads * model.head_dim * wanted.context
    products = model.parameters - model.embedding * (not model.is_tied)
    tokens = load.tokens * load.micro_batches
    again = 4 / 3 if load.recomputes else 1.0
    return again * (6 * products + scores) * tokens / plan.model / machine.flops_per_s


def _messages_s(wanted: Wanted, machine: Machine, plan: Plan, load: Load) -> float:
    """Rings: all but one share of what is gathered or summed goes past each rank."""
    model = wanted.model
    inside, between = machine.node_bytes_per_s, machine.net_bytes_per_s
    of_rank = model.layers * model.matrices / plan.model
    stream = load.tokens * model.width * _BF16
    sums = 2 * 4 * model.layers / plan.pipeline * stream * _past(plan.tensor)
    spread = 2 * _BF16 + _FLOAT  # brought together twice, and their gradients summed
    speed = inside if plan.tensor * plan.shard <= machine.per_node else between
    fits_node = plan.size <= machine.per_node
    copies = 2 * _FLOAT * (of_rank / plan.shard + model.embedding) * _past(plan.replicate)
    return load.micro_batches * (
        sums / inside + spread * of_rank * _past(plan.shard) / speed
    ) + copies / (inside if fits_node else between)


def _past(ranks: int) -> float:
    return (ranks - 1) / ranks


def _parts(plan: Plan) -> int:
    """How much there is to it: kinds of ranks that hold parts, a pipeline being two."""
    return 2 * (plan.pipeline > 1) + (plan.tensor > 1) + (plan.shard > 1)


def _reasons(chosen: Candidate, found: Iterable[Candidate], room: int) -> Iterator[str]:
    plan, load = chosen.plan, chosen.load
    whole = [each for each in found if each.plan.model * each.plan.shard == 1]
    if whole and plan.replicate != plan.size:
        least = min(each.memory.total_bytes for each in whole)
        if least > room:
            yield f"a whole copy takes {said(least)} on a device, of which {said(room)} are usable"
    if plan.shard > 1:
        yield f"weights, masters and moments of each block are spread over {plan.shard} devices"
    if plan.tensor > 1:
        yield (
            f"{plan.tensor} devices of a node share each matrix, and the stream between matrices "
            "by tokens"
        )
    if plan.pipeline > 1:
        yield (
            f"{plan.pipeline} stages hold the blocks; they wait {chosen.idle:.0%} of the time with "
            f"{load.micro_batches} micro-batches, by {load.schedule}"
        )
    if plan.replicate > 1:
        yield f"{plan.replicate} copies read different samples, which costs one sum a step"
    if load.recomputes:
        yield "blocks keep their input alone, which costs a third more work"


def _format_reason(precision: str, machine: Machine) -> str:
    if precision == "fp32":
        return "fp32 takes twice the memory of bf16, and is the slowest on devices"
    if precision == "fp16":
        why = "as asked" if machine.has_bf16 else "as these devices do not multiply in bf16"
        return f"fp16 {why}: its loss is scaled, and steps that overflow are left out"
    if precision == "fp8":
        return f"fp8 multiplies the matrices of blocks in 8 bits, on {FP8_UNITS}"
    if not machine.has_bf16:
        return "bf16 is computed by way of fp32 on these devices; fp16 would be faster"
    return "bf16 has the range of fp32, so that no loss is scaled"


def _others(
    chosen: Candidate, found: Iterable[Candidate], room: int
) -> Iterator[tuple[Candidate, str]]:
    """The best of each other combination of kinds of ranks, with or without recomputing."""
    best: dict[tuple[bool, ...], Candidate] = {}
    for each in found:
        plan = each.plan
        key = (plan.replicate > 1, plan.shard > 1, plan.tensor > 1, plan.pipeline > 1)
        before = best.get(key)
        if before is None or _rank(each, room) < _rank(before, room):
            best[key] = each
    for each in sorted(best.values(), key=lambda each: _rank(each, room)):
        if each.plan == chosen.plan:
            continue
        over = each.memory.total_bytes - room
        if over > 0:
            yield each, f"does not fit: {said(over)} too much on a device"
        else:
            yield (
                each,
                f"fits, but a step should take {each.step_s / chosen.step_s:.2f} times as long",
            )


def _rank(each: Candidate, room: int) -> tuple[bool, float]:
    over = each.memory.total_bytes > room
    return over, each.memory.total_bytes if over else each.step_s


def _refusal(wanted: Wanted, machine: Machine, found: list[Candidate], room: int) -> BadInput:
    if not found:
        most = wanted.batch_size // wanted.micro_batch_size
        return BadInput(
            f"{machine.devices} devices cannot share {wanted.batch_size} sequences a step.",
            f"There are {most} micro-batches, and neither heads nor blocks share the rest evenly.",
            f"Give --batch {machine.devices * wanted.micro_batch_size} or more, or fewer devices.",
        )
    least = min(found, key=lambda each: each.memory.total_bytes)
    return BadInput(
        f"A model of {wanted.model.parameters:,} parameters cannot be trained on "
        f"{machine.devices} devices of {said(machine.memory_bytes)}.",
        f"The least that it takes is {said(least.memory.total_bytes)} on each ({least.kind}), of "
        f"which {said(room)} are usable.",
        _what_would(wanted, machine, room),
    )


def _what_would(wanted: Wanted, machine: Machine, room: int) -> str:
    """The nearest number of devices, or length of sequences, with which it would fit."""
    said_: list[str] = []
    devices = machine.devices * 2
    while devices <= _MOST_DEVICES:
        batch = max(wanted.batch_size, devices * wanted.micro_batch_size)
        more = candidates(replace(wanted, batch_size=batch), replace(machine, devices=devices))
        if any(each.memory.total_bytes <= room for each in more):
            said_.append(f"{devices} devices")
            break
        devices *= 2
    context = wanted.context // 2
    while context >= 128:
        if any(
            each.memory.total_bytes <= room
            for each in candidates(replace(wanted, context=context), machine)
        ):
            said_.append(f"sequences of {context:,} tokens")
            break
        context //= 2
    if not said_:
        return "Neither more devices nor shorter sequences would do; take devices with more memory."
    return f"These would do: {', or '.join(said_)}."


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


def said(size_bytes: int) -> str:
    """Bytes in words."""
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.0f} MB"
