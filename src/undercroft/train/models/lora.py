"""Adapters of low rank on the linear layers of a frozen model (LoRA, Hu et al. 2021).

A layer y = Wx becomes y = Wx + (alpha / rank) BAx with A and B alone trained; B starts at zero, so
that training starts from the base. `merge` adds BA to W and leaves a model like any other. The
files are those of PEFT: ``adapter_config.json`` and ``adapter_model.safetensors``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from undercroft.errors import BadConfig, BadInput
from undercroft.settings import TuneSettings
from undercroft.train.models import absent
from undercroft.train.models.quantised import FourBitLinear
from undercroft.train.parallel.device import CPU

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."  # what PEFT's wrappers are called
_PARTS: Final = (".lora_A.weight", ".lora_B.weight")
_HEADS: Final = ("lm_head", "score")  # one is not adapted, the other is new and trained whole


@dataclass(frozen=True, slots=True)
class Lora:
    """The shape of adapters; without ``targets`` every linear layer but the head has one."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = ()
    dropout: float = 0.0

    @classmethod
    def of(cls, params: TuneSettings) -> Lora | None:
        """What ``params`` ask for; None when the weights themselves are trained."""
        if not params.lora_rank:
            return None
        targets = tuple(params.lora_targets)
        return cls(params.lora_rank, params.lora_alpha, targets, params.lora_dropout)


class AdaptedLinear(nn.Module):  # type: ignore[misc]
    """A frozen linear layer and its adapter.

    The adapter is kept in float32 whatever the layer is in, and computed in the layer's format.
    """

    def __init__(self, base: nn.Linear | FourBitLinear, lora: Lora, draw: torch.Generator) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.Linear(base.in_features, lora.rank, bias=False)
        self.lora_B = nn.Linear(lora.rank, base.out_features, bias=False)
        self.dropout = nn.Dropout(lora.dropout)
        self.scaling = lora.alpha / lora.rank
        self.is_on = True
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5), generator=draw)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_on:
            y: Tensor = self.base_layer(x)
            return y
        down = self.lora_A.weight.to(x.dtype)
        up = (self.lora_B.weight * self.scaling).to(x.dtype)
        if self.base_layer.bias is not None or (self.training and self.dropout.p):
            added = functional.linear(functional.linear(self.dropout(x), down), up)
            return self.base_layer(x) + added
        y = _Adapted.apply(x.flatten(0, -2), self.base_layer, down, up)
        return y.unflatten(0, x.shape[:-1])

    def merged(self) -> nn.Linear:
        """The layer with its adapter added to its weight."""
        base = self.base_layer
        layer = base.whole() if isinstance(base, FourBitLinear) else base
        with torch.no_grad():
            added = self.lora_B.weight @ self.lora_A.weight * self.scaling
            layer.weight.copy_((layer.weight.float() + added).to(layer.weight.dtype))
        return layer


class _Adapted(torch.autograd.Function):  # type: ignore[misc]
    """x W' + (x A') B' for frozen W (out, in), with A (r, in) and B (out, r).

    What the adapter adds is added in place, forwards and backwards, and W gets no gradient. W is
    asked for twice, and not kept between: in 4 bits it is whole for one product only.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, base: nn.Linear | FourBitLinear, down: Tensor, up: Tensor
    ) -> Tensor:
        low = x @ down.T
        ctx.save_for_backward(x, low, down, up)
        ctx.base = base
        return (x @ base.weight.T).addmm_(low, up.T)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor]:
        x, low, down, up = ctx.saved_tensors
        grad_low = grad @ up
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ ctx.base.weight).addmm_(grad_low, down)
        return grad_x, None, grad_low.T @ x, grad.T @ low


def adapt(model: Any, lora: Lora, seed: int) -> None:
    """Freeze ``model`` and put adapters on its linear layers; a new head (``score``) stays trained.

    Raises `BadConfig` when one of the targets is no layer.
    """
    found = _linear_layers(model)
    endings = {name.rpartition(".")[2] for name in found}
    for target in lora.targets:
        if target not in endings:
            raise BadConfig(
                f"lora_targets names {target!r}, which is no linear layer of this model.",
                f"They are {', '.join(sorted(endings))}.",
                "Correct it, or leave it empty for all of them.",
            )
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith("score."))
    draw = torch.Generator().manual_seed(seed)
    where = next(model.parameters()).device
    where = CPU if where.type == "meta" else where
    for name, layer in found.items():
        if not lora.targets or name.rpartition(".")[2] in lora.targets:
            adapted = AdaptedLinear(layer, lora, draw)
            adapted.lora_A.to(where)
            adapted.lora_B.to(where)
            _put(model, name, adapted)


def begin(model: Any, params: TuneSettings) -> Lora | None:
    """Adapt ``model`` where ``params`` ask for it; gives what `end` wants."""
    lora = Lora.of(params)
    if lora is not None:
        adapt(model, lora, params.seed)
    return lora


def end(model: Any, lora: Lora | None, folder: Path, base: str) -> None:
    """Write the adapters to ``folder`` and merge them into ``model``, if it has any."""
    if lora is not None:
        save_adapters(model, lora, folder, base)
        merge(model)


def merge(model: Any) -> None:
    """Add every adapter to its layer; what is left is a model without adapters.

    To weights that are `absent` they are added where these come from.
    """
    source = absent.source_of(model)
    added: dict[str, tuple[Tensor, Tensor, float]] = {}
    for name, layer in _adapted(model).items():
        if source is None:
            _put(model, name, layer.merged())
            continue
        down, up = layer.lora_A.weight.detach(), layer.lora_B.weight.detach()
        added[name] = (down, up, layer.scaling)
        _put(model, name, layer.base_layer)
    if source is not None:
        absent.promise(model, absent.Merged(source, added))
    for weight in model.parameters():
        weight.requires_grad_(True)


@contextmanager
def adapters_off(model: Any) -> Iterator[None]:
    """Within the block ``model`` is its frozen base, without dropout or gradients."""
    layers = _adapted(model).values()
    was_training = model.training
    model.eval()
    for layer in layers:
        layer.is_on = False
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in layers:
            layer.is_on = True
        model.train(was_training)


def save_adapters(model: Any, lora: Lora, folder: Path, base: str) -> None:
    """Write the adapters of ``model`` to ``folder`` as PEFT does; ``base`` names what they fit."""
    folder.mkdir(parents=True, exist_ok=True)
    names = _adapted(model)
    score = getattr(model, "score", None)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if score is None else "SEQ_CLS",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": sorted({name.rpartition(".")[2] for name in names}),
        "modules_to_save": None if score is None else ["score"],
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(_weights(model), folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load_adapters(model: Any, folder: Path) -> Lora:
    """Put the adapters in ``folder`` on ``model``; raises `BadInput` when they do not fit it."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        targets = tuple(config["target_modules"])
        lora = Lora(config["r"], config["lora_alpha"], targets, config.get("lora_dropout", 0.0))
        found = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"There are no LoRA adapters in {folder}.",
            f"{type(error).__name__}: {error}.",
            f"It needs {CONFIG_FILE} and {WEIGHTS_FILE}.",
        ) from error
    adapt(model, lora, seed=0)
    own = _weights(model)
    if own.keys() != found.keys() or any(own[name].shape != found[name].shape for name in own):
        raise BadInput(
            f"The adapters in {folder} are not of this model.",
            f"They hold {len(found)} tensors; it has {len(own)}, or of other sizes.",
            f"They were made for {config.get('base_model_name_or_path', 'another base')}.",
        )
    with torch.no_grad():
        for name, value in found.items():
            own[name].copy_(value)
    return lora


def _weights(model: Any) -> dict[str, Tensor]:
    """What is trained, under the names that PEFT gives it."""
    kept = {
        name: weight.detach()
        for name, weight in model.named_parameters()
        if name.endswith(_PARTS) or name.startswith("score.")
    }
    return {_PREFIX + name: weight for name, weight in kept.items()}


def _linear_layers(model: Any) -> dict[str, nn.Linear | FourBitLinear]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | FourBitLinear) and name.rpartition(".")[2] not in _HEADS
    }


def _adapted(model: Any) -> dict[str, AdaptedLinear]:
    return {
        name: module for name, module in model.named_modules() if isinstance(module, AdaptedLinear)
    }


def _put(model: Any, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)
