"""The frozen weights of linear layers in 4 bits, under adapters (QLoRA, Dettmers et al. 2023).

Weights are held as NF4, the quantiles of a normal distribution, in blocks of 64 with a scale each,
and the scales in 8 bits (section 3 of the paper): 4.13 bits a weight. A layer's weights are made
whole for the time of one product, forwards and again backwards. Packing and unpacking are
bitsandbytes', which has them for CPUs too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from undercroft.errors import BadInput, MissingExtra
from undercroft.train.models import folders
from undercroft.train.models.formats import dtype_of
from undercroft.train.parallel.device import chosen

BLOCK: Final = 64
_HEAD: Final = "lm_head"  # objectives read its matrix


class FourBitLinear(nn.Module):  # type: ignore[misc]
    """A linear layer whose frozen ``weight`` (out, in) is held in 4 bits; in no state dict."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self._packed, self._state = _bitsandbytes().quantize_4bit(
            weight.detach().contiguous(),
            blocksize=BLOCK,
            compress_statistics=True,
            quant_type="nf4",
        )

    @property
    def weight(self) -> Tensor:
        """Made whole anew each time it is asked for."""
        found: Tensor = _bitsandbytes().dequantize_4bit(self._packed, self._state)
        return found

    @property
    def num_bytes(self) -> int:
        """Memory of the weight as it is held."""
        scales, nested = self._state.absmax, self._state.state2
        return sum(each.nbytes for each in (self._packed, scales, nested.absmax))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Product.apply(x, self)
        return y

    def whole(self) -> nn.Linear:
        """The layer with its weights as they are computed with."""
        layer = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        layer.weight = nn.Parameter(self.weight)
        layer.bias = self.bias
        return layer


class _Product(torch.autograd.Function):  # type: ignore[misc]
    """What a layer gives for x; its weights are made whole again for the gradient, not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FourBitLinear) -> Tensor:
        ctx.layer = layer
        return functional.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.layer.weight, None


def load(folder: Path, precision: str, max_tokens: int, device: str = "cpu") -> tuple[Any, Any]:
    """As `folders.load`, but linear layers other than the head are in 4 bits.

    One layer after the other is read and packed, so that the whole model is never in memory.
    Raises `BadInput` for a folder that does not hold what its configuration promises, and
    `MissingExtra` without bitsandbytes.
    """
    _bitsandbytes()
    _, transformers = folders.libraries()
    from transformers.initialization import no_init_weights

    config = transformers.AutoConfig.from_pretrained(folder)
    with no_init_weights():  # memory that nobody writes to is not taken
        model = transformers.AutoModelForCausalLM.from_config(
            config,
            dtype=dtype_of(precision),
            attn_implementation=folders.attention_for(max_tokens),
        )
    model.to(chosen(device))
    _fill(model, folder)
    if (folder / "generation_config.json").exists():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def is_finite(weight: Tensor) -> bool:
    """Whether there is neither NaN nor infinity in ``weight``; one pass, without a mask."""
    total = weight.sum(dtype=torch.float32)
    return bool(torch.isfinite(total)) or bool(torch.isfinite(weight).all())


def _fill(model: Any, folder: Path) -> None:
    """Put what the files in ``folder`` hold into ``model``, tensor by tensor."""
    from safetensors import safe_open

    wanted = dict(model.named_parameters())
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            names = list(tensors.keys())
        for name in names:
            if name not in wanted:
                continue
            with safe_open(file, framework="pt") as tensors:  # opened anew, to let go of its pages
                _place(model, name, _sound(name, tensors.get_tensor(name)), wanted.pop(name))
    model.tie_weights()
    tied = set(model.all_tied_weights_keys)
    missing = [name for name in wanted if name not in tied]
    if missing:
        raise BadInput(
            f"{folder} does not hold the whole model.",
            f"{missing[0]} is not among its weights, nor are {len(missing) - 1} others.",
            "Bring the base model in again.",
        )


def _place(model: nn.Module, name: str, value: Tensor, weight: Tensor) -> None:
    path, _, kind = name.rpartition(".")
    layer = model.get_submodule(path)
    if kind == "weight" and _is_packed(path, layer):
        parent, _, child = path.rpartition(".")
        packed = FourBitLinear(value.to(weight.device, weight.dtype), layer.bias)
        setattr(model.get_submodule(parent), child, packed)
        return
    with torch.no_grad():
        weight.copy_(value)


def _sound(name: str, value: Tensor) -> Tensor:
    """Raises `BadInput` where packing would hide what is no number."""
    if not is_finite(value):
        raise BadInput(
            "The model's weights are not all numbers.",
            f"{name} holds NaN or infinity.",
            "Bring the model in again, or name another as model.base.",
        )
    return value


def _is_packed(path: str, layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and path.rpartition(".")[2] != _HEAD


def _bitsandbytes() -> Any:
    """Its functions, without what it says about kernels that it does not need."""
    import logging

    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    try:
        from bitsandbytes import functional as found
    except ImportError as error:
        raise MissingExtra("bitsandbytes", "qlora") from error
    return found
