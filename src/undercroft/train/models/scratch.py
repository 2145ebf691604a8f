"""A Llama-style model with random weights: its size before it is made, then the model.

Each tensor is drawn from a seed of its own, made of the run's seed and the tensor's name, so that
the same seed and shape give the same model whatever else was drawn before.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from undercroft.errors import BadConfig, BadInput
from undercroft.settings import ParallelSettings, PretrainSettings
from undercroft.train.models import memory
from undercroft.train.models.absent import promise
from undercroft.train.models.anatomy import Anatomy
from undercroft.train.models.folders import attention_for, libraries
from undercroft.train.models.formats import dtype_of
from undercroft.train.models.memory import Estimate, Load
from undercroft.train.parallel.device import CPU, chosen
from undercroft.train.parallel.plan import Plan

INIT_STD = 0.02
ABSENT: Final = "meta"
_DRAWN_AT_ONCE: Final = 2**22  # numbers
_BLOCK: Final = 16
_FEED_FORWARD_MULTIPLE = 32


@dataclass(frozen=True, slots=True)
class Shape:
    """The model to be made; embeddings of input and output are one. Raises `BadConfig`."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise BadConfig(
                f"pretrain.width is {self.width}, of which {self.heads} heads get no even share.",
                "Rotary positions turn pairs of numbers within a head.",
                f"Set pretrain.width to a multiple of {2 * self.heads}, such as "
                f"{max(1, round(self.width / (2 * self.heads))) * 2 * self.heads}.",
            )
        if self.heads % self.kv_heads:
            raise BadConfig(
                f"pretrain.kv_heads is {self.kv_heads}, which does not divide the "
                f"{self.heads} heads.",
                do="Set it to a divisor of pretrain.heads; the same number is plain attention.",
            )

    @property
    def feed_forward(self) -> int:
        """8/3 of the width, as in LLaMA (Touvron et al., 2023), rounded up."""
        least = 8 * self.width / 3
        return math.ceil(least / _FEED_FORWARD_MULTIPLE) * _FEED_FORWARD_MULTIPLE

    @property
    def anatomy(self) -> Anatomy:
        head_dim = self.width // self.heads
        sizes = (self.layers, self.width, self.heads, self.kv_heads, head_dim, self.feed_forward)
        return Anatomy(*sizes, self.vocabulary)

    @property
    def parameters(self) -> int:
        """Of the whole model, without making it."""
        return self.anatomy.parameters


def shape_of(params: PretrainSettings, vocabulary: int) -> Shape:
    """The shape that ``params`` ask for, with a tokenizer of ``vocabulary`` tokens."""
    return Shape(
        params.layers, params.width, params.heads, params.kv_heads, vocabulary, params.context
    )


def estimate(
    shape: Shape,
    precision: str,
    micro_batch_size: int,
    parallel: ParallelSettings | None = None,
    optimizer: str = "adamw",
) -> Estimate:
    """Memory of training ``shape`` on one of the processes of ``parallel``."""
    parallel = parallel or ParallelSettings()
    load = Load(
        shape.context,
        micro_batch_size,
        micro_batches=2 * parallel.pipeline,  # more are not held by any but gpipe
        precision=precision,
        recomputes=parallel.activation_checkpointing,
        sequence=parallel.sequence,
        schedule=parallel.schedule,
        chunks=parallel.chunks,
        optimizer=optimizer,
    )
    return memory.estimate(shape.anatomy, load, Plan.of(parallel, "pretrain"))


def check_memory(
    shape: Shape,
    precision: str,
    micro_batch_size: int,
    free_bytes: int,
    parallel: ParallelSettings | None = None,
    *,
    optimizer: str = "adamw",
) -> Estimate:
    """The estimate; raises `BadInput` that says what would fit when ``free_bytes``, of one process,
    do not do."""
    wanted = estimate(shape, precision, micro_batch_size, parallel, optimizer)
    if wanted.total_bytes <= free_bytes:
        return wanted
    fitting = next(
        (
            said
            for said, smaller, rows in _smaller(shape, micro_batch_size)
            if estimate(smaller, precision, rows, parallel, optimizer).total_bytes <= free_bytes
        ),
        "",
    )
    raise BadInput(
        f"A model of {wanted.parameters:,} parameters needs {_size(wanted.total_bytes)} to be "
        f"trained, and {_size(free_bytes)} are free.",
        f"{_size(wanted.state_bytes)} are weights, gradients and the optimizer's, "
        f"{_size(wanted.activation_bytes)} what a forward pass of {micro_batch_size} sequences "
        "keeps.",
        f"This would fit: {fitting}." if fitting else "Not even the smallest model would fit.",
    )


def _smaller(shape: Shape, micro_batch_size: int) -> Iterator[tuple[str, Shape, int]]:
    """What could be asked for instead, in words and numbers, the nearest to ``shape`` first."""
    rows = micro_batch_size
    while rows > 1:
        rows //= 2
        yield f"pretrain.micro_batch_size = {rows}", shape, rows
    ones = "pretrain.micro_batch_size = 1"
    for layers in range(shape.layers - 1, max(0, shape.layers // 2 - 1), -1):
        yield f"{ones}, pretrain.layers = {layers}", replace(shape, layers=layers), 1
    layers = max(1, shape.layers // 2)
    step = 2 * shape.heads
    for width in range(shape.width - step, 0, -step):
        said = f"{ones}, pretrain.layers = {layers}, pretrain.width = {width}"
        yield said, replace(shape, layers=layers, width=width), 1


def build(
    shape: Shape, precision: str, seed: int, special: dict[str, int], device: str = "cpu"
) -> Any:
    """The model with seeded random weights; ``special`` are token ids for its configuration.

    It is laid out on the meta device, which allocates nothing, and then materialised once; on the
    ``device`` "meta" that is left to whoever knows which part of it is wanted (`absent`).
    """
    torch, transformers = libraries()
    config = transformers.LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        **special,
    )
    where = CPU if device == ABSENT else chosen(device)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=dtype_of(precision), attn_implementation=attention_for(shape.context)
        )
    source = Drawn(seed, shape.layers, {n: tuple(w.shape) for n, w in model.named_parameters()})
    rotary = model.model.rotary_emb  # its tables are no weights: they are computed, not drawn
    if device != ABSENT:
        model = model.to_empty(device=where)
    model.tie_weights()
    model.model.rotary_emb = type(rotary)(config=config).to(where)
    if device == ABSENT:
        promise(model, source)
        return model
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(source.part(name, (0,) * weight.ndim, weight.shape))
    return model


@dataclass(frozen=True)
class Drawn:
    """Random weights of the given ``shapes``, each a function of ``seed`` and its name alone.

    Norms begin at 1; what a block adds to the stream begins smaller in a model of many ``layers``
    (GPT-2).
    """

    seed: int
    layers: int
    shapes: Mapping[str, tuple[int, ...]]

    def part(self, name: str, at: Sequence[int], size: Sequence[int]) -> Any:
        """A block of a weight in float32. The whole of it is drawn, some rows at a time."""
        import torch

        shape = self.shapes[name]
        if len(shape) == 1:
            return torch.ones(tuple(size))
        own = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()[:8]
        adds = name.endswith(("o_proj.weight", "down_proj.weight"))
        std = INIT_STD / math.sqrt(2 * self.layers) if adds else INIT_STD
        draw = torch.Generator().manual_seed(int.from_bytes(own, "big") >> 1)
        found = torch.empty(tuple(size))
        rows, columns = range(at[0], at[0] + size[0]), slice(at[1], at[1] + size[1])
        for first, count in _spans(*shape):
            drawn = torch.empty(count, shape[1]).normal_(0.0, std, generator=draw)
            mine = range(max(first, rows.start), min(first + count, rows.stop))
            if mine:
                here, there = slice(mine[0] - first, mine[-1] + 1 - first), mine[0] - rows.start
                found[there : there + len(mine)] = drawn[here, columns]
            if first + count >= rows.stop:
                break
        return found


def _spans(rows: int, width: int) -> Iterator[tuple[int, int]]:
    """First rows and numbers of rows to draw one after the other, as if all were drawn at once.

    Torch makes normal numbers in blocks of 16, and the last 16 of a draw anew where those do not
    come out even; so every draw but the last is of whole blocks, and none is smaller than one.
    """
    each = max(1, _DRAWN_AT_ONCE // width // _BLOCK) * _BLOCK
    first = 0
    while first < rows:
        count = each if rows - first >= 2 * each else rows - first
        yield first, count
        first += count


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.0f} MB"
