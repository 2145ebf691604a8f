"""Where a process computes: the processor, or a device of its own.

A rank's device is the one that has its number on the machine, which is told by ``LOCAL_RANK``, as
torchrun does. With devices ranks talk by NCCL; what is no tensor, and what goes by the host's
memory, they say by gloo.
"""

from __future__ import annotations

import os
from typing import Any, Final

import torch

from undercroft.errors import BadConfig

CPU: Final = torch.device("cpu")
#: How torchrun tells a process which of a machine's it is, and of how many; by itself, else.
_SEAT: Final = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}


def seat(local_rank: int, ranks_here: int) -> None:
    """Let this process be number ``local_rank`` of the ``ranks_here`` on its machine."""
    os.environ |= dict(zip(_SEAT, (str(local_rank), str(ranks_here)), strict=True))


def chosen(asked: str) -> torch.device:
    """The device that a setting asks for: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    ``auto`` is a CUDA device where there is one. What this process computes on it is from now on
    the same each time, to the bit. Raises `BadConfig` for one that is not there, and
    where ranks are more than devices.
    """
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "cpu" or (asked == "auto" and not here):
        return CPU
    number, ranks = (int(os.environ.get(name, told)) for name, told in _SEAT.items())
    _, _, named = asked.partition(":")
    if named and ranks > 1:
        raise BadConfig(
            f"device is {asked}, and {ranks} processes of this machine would share it.",
            "Each takes a device of its own.",
            "Set device to cuda; CUDA_VISIBLE_DEVICES says which devices are taken.",
        )
    if not here:
        raise BadConfig(
            f"device is {asked}, and this machine has no such device.",
            _why_none(),
            "Set device to auto, which takes what is there, or to cpu.",
        )
    at = int(named) if named else number
    if at >= here:
        there = ", ".join(f"cuda:{n}" for n in range(here))
        raise BadConfig(
            f"device is {asked}, and there is no cuda:{at}.",
            f"Here is {there}." if named else f"{ranks} processes have {here} devices: {there}.",
            "Name one of these."
            if named
            else f"Set parallel.processes to {here}, or device to cpu.",
        )
    found = torch.device("cuda", at)
    _settle(found)
    return found


def _why_none() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return f"Torch {torch.__version__} is built for processors only."
    return f"Torch {torch.__version__} finds no device that its driver (CUDA) can use."


def _settle(device: torch.device) -> None:
    """Have this process compute on ``device`` by algorithms that add in one order, with the
    workspace that cuBLAS needs for it (docs.nvidia.com/cuda/cublas, "Results reproducibility"),
    and choose no kernels by their time.

    A processor gives the same for one number of threads as it is.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.cuda.set_device(device)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False


def backend(device: torch.device) -> str:
    """What processes that compute on ``device`` talk by, as torch names it."""
    return "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"


def random_state(device: torch.device) -> Any:
    """The state of the device's own generator (bytes, as a tensor); None for a processor."""
    return None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)


def set_random_state(device: torch.device, state: Any) -> None:
    """Set the device's own generator to what `random_state` gave."""
    torch.get_device_module(device).set_rng_state(state, device)


def free_bytes(device: torch.device) -> int | None:
    """Bytes that a process may still take on ``device``; None where that is the host's memory."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(free)
