"""Models whose weights are not in memory, since no process could hold them all.

Such a model lies on torch's ``meta`` device: it has shapes and no numbers. It is promised a source
of them, which gives any block of any weight: files, a seed, a checkpoint. `spread` cuts the model
while it is empty, and then brings each process what it holds; `save` writes a model from its source
to files without ever having more than one of them in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from undercroft.errors import BadInput
from undercroft.train.models.quantised import is_finite
from undercroft.train.parallel.parts import Saved

_SOURCE: Final = "_undercroft_source"
_MOST_BYTES: Final = 1_000_000_000  # of a file
_BASE: Final = ".base_layer."  # what adapters put into the name of the layer that they are on


class Source(Protocol):
    """Where weights are, by the names that they have in files."""

    def part(self, name: str, at: Sequence[int], size: Sequence[int]) -> Tensor:
        """The block of ``size`` at ``at`` of a whole weight; raises `KeyError` if it has none."""
        ...


def promise(model: Any, source: Source) -> None:
    """Let ``source`` be where the weights of ``model`` come from."""
    setattr(model, _SOURCE, source)


def source_of(model: Any) -> Source | None:
    """Where the weights of ``model`` are to be had; None if it has them."""
    found: Source | None = getattr(model, _SOURCE, None)
    return found


def named(name: str) -> str:
    """What a weight that adapters are on is called in files."""
    return name.replace(_BASE, ".")


@dataclass(frozen=True)
class InFiles:
    """The weights in the safetensors files of ``folder``, of which what is asked for is read."""

    folder: Path

    def part(self, name: str, at: Sequence[int], size: Sequence[int]) -> Tensor:
        """Raises `BadInput` for numbers that are none. Files are opened anew each time, to let go
        of their pages."""
        found = Saved(sorted(self.folder.glob("*.safetensors")), {}).part(name, at, size)
        if not is_finite(found):
            raise BadInput(
                "The model's weights are not all numbers.",
                f"{name} holds NaN or infinity.",
                "Bring the model in again, or name another as model.base.",
            )
        return found

    def demand_all(self, model: nn.Module) -> None:
        """Raises `BadInput` unless there is every weight of ``model``, of its shape."""
        known = Saved(sorted(self.folder.glob("*.safetensors")), {}).shapes
        wrong = [
            name
            for name, weight in model.named_parameters()
            if known.get(name) != tuple(weight.shape)
        ]
        if wrong:
            raise BadInput(
                f"{self.folder} does not hold the whole model.",
                f"{wrong[0]} is not among its weights, or of another shape; {len(wrong) - 1} "
                "others are not, either.",
                "Bring the base model in again.",
            )


@dataclass(frozen=True)
class Trained:
    """The weights in a checkpoint, and those of ``frozen`` that were not trained."""

    saved: Saved
    frozen: Source

    def part(self, name: str, at: Sequence[int], size: Sequence[int]) -> Tensor:
        master = f"master.{name}"
        if master in self.saved:
            return self.saved.part(master, at, size)
        return self.frozen.part(name, at, size)


@dataclass(frozen=True)
class Merged:
    """The weights of ``base`` with adapters added to them: (A, B, scaling) by the layer's name."""

    base: Source
    adapters: Mapping[str, tuple[Tensor, Tensor, float]]

    def part(self, name: str, at: Sequence[int], size: Sequence[int]) -> Tensor:
        found = self.base.part(name, at, size)
        layer = name.removesuffix(".weight")
        if layer not in self.adapters:
            return found
        down_rk, up_or, scaling = self.adapters[layer]
        rows, columns = (slice(a, a + n) for a, n in zip(at, size, strict=True))
        return (found.float() + up_or[rows] @ down_rk[:, columns] * scaling).to(found.dtype)


def settle(model: nn.Module, device: torch.device, blocks: Sequence[nn.Module] = ()) -> list[str]:
    """Give memory on ``device`` to the weights of ``model`` that have none; their names.

    ``blocks`` are those that torch has spread, and must be told through. What is tied stays so.
    """
    empty = [name for name, weight in model.named_parameters() if weight.is_meta]
    for block in blocks:
        block._apply(lambda t: torch.empty_like(t, device=device) if t.is_meta else t)
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is None or not weight.is_meta:
                continue
            if id(weight) not in made:
                held = torch.empty_like(weight, device=device)
                made[id(weight)] = nn.Parameter(held, requires_grad=weight.requires_grad)
            module._parameters[name] = made[id(weight)]
    return empty


def save(model: Any, folder: Path, dtype: torch.dtype, most_bytes: int = _MOST_BYTES) -> None:
    """Write ``model`` from its source: configuration, and files of at most ``most_bytes``, or of
    one weight, with the index that says which weight is in which."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = dtype
    model.config.save_pretrained(folder)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    source = source_of(model)
    assert source is not None
    files = list(_files(model, dtype.itemsize, most_bytes))
    where: dict[str, str] = {}
    total = 0
    for number, names in enumerate(files, start=1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        name = name if len(files) > 1 else "model.safetensors"
        tensors = {
            each: source.part(each, (0,) * len(shape), shape).to(dtype).contiguous()
            for each, shape in names.items()
        }
        save_file(tensors, folder / name, metadata={"format": "pt"})
        where |= dict.fromkeys(names, name)
        total += sum(each.nbytes for each in tensors.values())
    if len(files) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": where}
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _files(model: nn.Module, itemsize: int, most: int) -> Iterator[dict[str, tuple[int, ...]]]:
    """The weights of each file, with their shapes."""
    few: dict[str, tuple[int, ...]] = {}
    size = 0
    for name, weight in model.named_parameters():
        own = weight.numel() * itemsize
        if few and size + own > most:
            yield few
            few, size = {}, 0
        few[named(name)] = tuple(weight.shape)
        size += own
    yield few
