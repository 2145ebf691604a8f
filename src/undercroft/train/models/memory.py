"""The memory that training takes on one process, before anything of it is taken."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Final

from undercroft.train.models.anatomy import Anatomy
from undercroft.train.models.limits import CHUNK_BYTES, PLAIN_KEYS
from undercroft.train.parallel.orders import order
from undercroft.train.parallel.plan import Plan

NUMBER: Final = {"bf16": 2, "fp16": 2, "fp32": 4, "fp8": 2}  # fp8: of weights, more than kept
_FLOAT: Final = 4
#: What a block keeps for its backward pass, in numbers a token: of the width, in the stream and
#: between the matrices of attention; of the feed-forward's; and, of keys, in each head.
_STREAM, _INSIDE, _FEED_FORWARDS, _SCORES = 8, 8, 4, 1
#: What a block leaves when the gradients of its weights wait: inputs and gradients of matrices.
_DEFERRED_WIDTHS, _DEFERRED_FEED_FORWARDS = 6, 4
#: Copies of the logits of the targets that are scored at once: model's format, float32, gradient.
_CHUNKS = 3


@dataclass(frozen=True, slots=True)
class Load:
    """What a process is given: sequences of ``context`` tokens, ``micro_batch_size`` at once.

    ``micro_batches`` of these go through a pipeline in a step. ``optimizer`` is that of the
    settings.
    """

    context: int
    micro_batch_size: int
    micro_batches: int = 1
    precision: str = "bf16"
    recomputes: bool = False
    sequence: bool = False
    schedule: str = "1f1b"
    chunks: int = 2
    optimizer: str = "adamw"

    @property
    def tokens(self) -> int:
        return self.context * self.micro_batch_size


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on the process that takes most; activations are estimated from above.

    ``parameters`` are the whole model's. A checkpoint's copy is of masters and moments.
    """

    parameters: int
    weights: int
    gradients: int
    masters: int
    moments: int
    checkpoint: int
    activations: int
    logits: int

    @property
    def state_bytes(self) -> int:
        return self.weights + self.gradients + self.masters + self.moments + self.checkpoint

    @property
    def activation_bytes(self) -> int:
        return self.activations + self.logits

    @property
    def total_bytes(self) -> int:
        return self.state_bytes + self.activation_bytes

    def as_dict(self) -> dict[str, int]:
        sums = {
            name: getattr(self, name) for name in ("state_bytes", "activation_bytes", "total_bytes")
        }
        return {**asdict(self), **sums}


def estimate(model: Anatomy, load: Load, plan: Plan | None = None) -> Estimate:
    """What training ``model`` takes where it lies as ``plan`` says, on the first or the last stage,
    whichever takes more."""
    plan = plan or Plan()
    stages = {0, plan.pipeline - 1}
    found = [_of_stage(model, load, plan, stage) for stage in sorted(stages)]
    return max(found, key=lambda each: each.total_bytes)


def _of_stage(model: Anatomy, load: Load, plan: Plan, stage: int) -> Estimate:
    number = NUMBER[load.precision]
    is_first, is_last = stage == 0, stage == plan.pipeline - 1
    layers = -(-model.layers // plan.pipeline)
    block = -(-model.matrices // plan.tensor) + model.norms
    blocks = layers * -(-block // plan.shard)
    ends = is_first * model.embedding + is_last * (model.embedding + model.width)
    if is_first and is_last and model.is_tied:
        ends -= model.embedding
    together = 2 * block * (plan.shard > 1)  # a block's weights and gradients while it computes
    stepped = blocks + -(-ends // plan.shard)
    moments = 2 * stepped - _by_muon(model, load, plan, layers)
    widened = (blocks + ends) * _FLOAT * (load.precision != "fp32")
    return Estimate(
        model.parameters,
        weights=(blocks + ends + together) * number,
        gradients=(blocks + ends) * number + widened,
        masters=stepped * _FLOAT,
        moments=moments * _FLOAT,
        checkpoint=(stepped + moments) * _FLOAT,
        activations=_activations(model, load, plan, stage, layers),
        logits=_logits(model, load) * is_last,
    )


def _by_muon(model: Anatomy, load: Load, plan: Plan, layers: int) -> int:
    """Numbers that are stepped by Muon, which keeps one moment of them and not two: the matrices of
    blocks, where they are whole (`muon.wants_muon`)."""
    is_whole = plan.shard == plan.tensor == 1
    is_wanted = load.optimizer == "muon" or (not load.optimizer and is_whole)
    return layers * (model.matrices - model.biases) if is_wanted and is_whole else 0


def _activations(model: Anatomy, load: Load, plan: Plan, stage: int, layers: int) -> int:
    """What the passes that went forward and not yet back keep, all of them on one stage."""
    number = NUMBER[load.precision]
    stream = _STREAM * model.width / (plan.tensor if load.sequence else 1)
    scores = _SCORES * model.heads * min(load.context, PLAIN_KEYS)
    shared = _INSIDE * model.heads * model.head_dim + _FEED_FORWARDS * model.feed_forward + scores
    of_block = stream + shared / plan.tensor
    kept = layers * (model.width if load.recomputes else of_block)
    working = of_block if load.recomputes else 0
    held, waiting = _held(load, plan, stage)
    deferred = _DEFERRED_WIDTHS * model.width + _DEFERRED_FEED_FORWARDS * model.feed_forward
    kept = kept * held + waiting * layers * deferred / plan.tensor
    return int(load.tokens * number * (kept + working + 2 * model.width))


def _held(load: Load, plan: Plan, stage: int) -> tuple[float, int]:
    """Micro-batches that a stage holds at most, and those whose weights' gradients wait."""
    if plan.pipeline == 1:
        return 1, 0
    chunks = load.chunks if load.schedule == "interleaved" else 1
    actions = order(load.schedule, plan.pipeline, chunks, load.micro_batches).ranks[stage]
    steps = {"forward": (1, 0), "backward": (-1, 1), "weights": (0, -1)}
    held = accumulate(steps[each.kind][0] for each in actions)
    waiting = accumulate(steps[each.kind][1] for each in actions)
    return max(held) / chunks, max(waiting) if load.schedule == "zero_bubble" else 0


def _logits(model: Anatomy, load: Load) -> int:
    """A chunk of them, and the gradient of the head, which is made with the losses."""
    chunk = min(CHUNK_BYTES, _FLOAT * model.vocabulary * load.tokens)
    return _CHUNKS * chunk + _FLOAT * model.embedding
