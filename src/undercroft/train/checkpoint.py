"""Everything a run needs to go on as if it had never stopped, written so that half is nothing.

A checkpoint is a folder: tensors (safetensors) and ``state.json``, which is written last. It is
made under another name and renamed, so that a folder called ``checkpoint-N`` is always whole.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

_PREFIX = "checkpoint-"
_TENSORS = "tensors.safetensors"
_STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` of the optimizer; ``state`` is the rest, plain JSON."""

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` under ``folder`` and remove older ones."""
    making = folder / f"making-{_PREFIX}{checkpoint.step}"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    save_file(dict(checkpoint.tensors) | _random_tensors(), making / _TENSORS)
    state = {"step": checkpoint.step, "random": _random_state(), **checkpoint.state}
    (making / _STATE).write_text(json.dumps(state), encoding="utf-8")
    final = folder / f"{_PREFIX}{checkpoint.step}"
    shutil.rmtree(final, ignore_errors=True)
    making.rename(final)
    for old in _whole(folder)[:-1]:
        shutil.rmtree(old, ignore_errors=True)


def newest(folder: Path, config_digest: str) -> Checkpoint | None:
    """The last checkpoint in ``folder`` of a run with this configuration, random state restored.

    None when there is none; one of another configuration is left alone and not used.
    """
    for path in reversed(_whole(folder)):
        state = json.loads((path / _STATE).read_text(encoding="utf-8"))
        if state.get("config_digest") != config_digest:
            continue
        tensors = load_file(path / _TENSORS)
        _restore_random(state["random"], tensors)
        kept = {name: value for name, value in tensors.items() if not name.startswith("random.")}
        return Checkpoint(state["step"], kept, state)
    return None


def _whole(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.startswith(_PREFIX)]
    return sorted(
        (path for path in found if (path / _STATE).exists()),
        key=lambda path: int(path.name.removeprefix(_PREFIX)),
    )


def _random_state() -> list[Any]:
    version, words, gauss = random.getstate()
    return [version, list(words), gauss]


def _random_tensors() -> dict[str, Tensor]:
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "random.torch": torch.get_rng_state(),
        "random.numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
        "random.numpy_position": torch.tensor([position, has_gauss], dtype=torch.int64),
        "random.numpy_gauss": torch.tensor([gauss], dtype=torch.float64),
    }


def _restore_random(python: list[Any], tensors: Mapping[str, Tensor]) -> None:
    version, words, gauss = python
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(tensors["random.torch"])
    position, has_gauss = tensors["random.numpy_position"].tolist()
    keys = tensors["random.numpy"].numpy().astype(np.uint32)
    last = float(tensors["random.numpy_gauss"][0])
    np.random.set_state(("MT19937", keys, position, has_gauss, last))
