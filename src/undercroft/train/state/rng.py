"""The state of all random number generators of a process, as plain JSON."""

from __future__ import annotations

import base64
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undercroft.train.parallel import device as devices


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, those of devices too."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def captured(device: torch.device = devices.CPU) -> dict[str, Any]:
    """What `restore` takes, of a process that computes on ``device``."""
    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)
    found = {
        "python": [version, list(words), gauss],
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "torch": _packed(torch.get_rng_state()),
    }
    own = devices.random_state(device)
    return found if own is None else {**found, device.type: _packed(own)}


def restore(state: dict[str, Any], device: torch.device = devices.CPU) -> None:
    """Set the generators to what they were when ``state`` was `captured`.

    The device's is left as it is where ``state`` is of a process that had another kind of device.
    """
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.asarray(keys, np.uint32), *rest))
    torch.set_rng_state(_unpacked(state["torch"]))
    if device.type != "cpu" and device.type in state:
        devices.set_random_state(device, _unpacked(state[device.type]))


def _packed(state: Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _unpacked(state: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(state), np.uint8).copy())
