"""What a step costs: memory, energy, and how much of the machine's arithmetic it uses.

Model FLOPs are those that the training of these weights needs, however it is done: 6 a token for
every weight that multiplies, and 12 * layers * width * tokens of a sequence for attention
(Chowdhery et al., "PaLM", 2022, appendix B; recomputation is not counted). Of a frozen weight there
is no gradient, so it has 4; a head is used for targets alone. Utilisation is by the fastest matrix
product that was measured on this machine in the run's number format.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from undercroft.meter import EnergyCounter, estimate_wh
from undercroft.settings import MeterSettings
from undercroft.train.models.quantised import FourBitLinear
from undercroft.train.points import Point, Tally

_FILE: Final = "peak_flops.json"
_WORK: Final = "_undercroft_work"
_SIDE: Final = 1024  # of the square matrices; smaller ones are slower a FLOP
_FIRST_S: Final = 0.15
_AGAIN_S: Final = 0.05
_JOULES_PER_WH: Final = 3600.0
_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Work:
    """FLOPs of training: a token, a target, and a token and each of its sequence's."""

    per_token: int
    per_target: int
    per_pair: int

    def flops(self, tokens: int, targets: int, examples: int) -> float:
        """Of so many, in sequences of even length."""
        length = tokens / max(1, examples)
        return tokens * (self.per_token + self.per_pair * length) + targets * self.per_target


def work_of(model: nn.Module) -> Work:
    """By the weights of ``model`` that multiply; its embeddings do if they are the head as well.

    Of a model that is laid over processes, what it was before (`remember`).
    """
    kept: Work | None = getattr(model, _WORK, None)
    if kept is not None:
        return kept
    give_head = getattr(model, "get_output_embeddings", None)
    head = give_head() if give_head is not None else None
    head_weight = getattr(head, "weight", None)
    looked_up = {id(each.weight) for each in model.modules() if isinstance(each, nn.Embedding)}
    per_token = per_target = 0
    for weight in model.parameters():
        flops = (6 if weight.requires_grad else 4) * weight.numel()
        if weight is head_weight:
            per_target += flops
        elif weight.ndim > 1 and id(weight) not in looked_up:
            per_token += flops
    for module in model.modules():
        if isinstance(module, FourBitLinear):  # which has no weight among the parameters
            per_token += 4 * module.in_features * module.out_features
    return Work(per_token, per_target, _per_pair(model))


def remember(model: nn.Module) -> None:
    """Keep what the work of ``model`` is, of which only a part will be left in this process."""
    setattr(model, _WORK, work_of(model))


def _per_pair(model: nn.Module) -> int:
    """12 * layers * heads * size of a head; 0 for a model that does not say."""
    config = getattr(model, "config", None)
    layers, heads = (
        getattr(config, name, 0) for name in ("num_hidden_layers", "num_attention_heads")
    )
    size = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // max(1, heads)
    return int(12 * layers * heads * size)


class Gauges:
    """Read after each step; costs some microseconds.

    ``peak`` is what one of the ``ranks`` can do in a second. Memory is this process's; energy is
    the machine's where its counters can be read, else estimated from the processor time of this
    process, which each of the ranks is taken to use.
    """

    def __init__(
        self, work: Work, peak: float, settings: MeterSettings, tally: Tally, ranks: int = 1
    ) -> None:
        self._work = work
        self._peak = peak * ranks
        self._ranks = ranks
        self._settings = settings
        self._counted = (tally.tokens, tally.targets, tally.examples)
        self._counter = EnergyCounter()
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._before = self._now()

    def read(self, point: Point) -> dict[str, float]:
        """Of the step that ``point`` is of: ``memory_mb``, ``device_mb`` where there is a device,
        ``energy_j`` since the step before, ``mfu``."""
        counted = (point.tokens, point.targets, point.examples)
        tokens, targets, examples = (
            now - then for now, then in zip(counted, self._counted, strict=True)
        )
        self._counted = counted
        seconds = tokens / max(point.tokens_per_s, 1e-9)
        found = {
            "memory_mb": self._memory_mb(),
            "energy_j": self._joules(),
            "mfu": self._work.flops(tokens, targets, examples) / max(seconds * self._peak, 1e-9),
        }
        if torch.cuda.is_available():
            found["device_mb"] = torch.cuda.memory_allocated() / 1e6
        return found

    def _now(self) -> tuple[float, float, float]:
        return time.process_time(), time.monotonic(), self._counter.sample()

    def _joules(self) -> float:
        before, self._before = self._before, self._now()
        cpu_s, wall_s, counted_wh = (b - a for a, b in zip(before, self._before, strict=True))
        if self._counter.readable:
            return counted_wh * _JOULES_PER_WH
        return estimate_wh(cpu_s * self._ranks, wall_s, self._settings) * _JOULES_PER_WH

    def _memory_mb(self) -> float:
        try:
            return int(_STATM.read_bytes().split()[1]) * self._page / 1e6
        except (OSError, IndexError, ValueError):  # not Linux
            import psutil

            return float(psutil.Process().memory_info().rss) / 1e6


def peak_flops(folder: Path, model: nn.Module) -> float:
    """FLOPs a second of a square matrix product in the number format of ``model``, on its device.

    Kept in ``folder`` for a processor and number of threads. It is the most that was ever measured:
    a run begins with a few products, since a machine that was busy the first time was slow.
    """
    weight = max(model.parameters(), key=lambda each: each.ndim)
    kind = weight.dtype if weight.dtype.is_floating_point else torch.bfloat16
    name = f"{_processor()} {weight.device.type} x{torch.get_num_threads()} {kind}"
    path = folder / _FILE
    known = _read(path)
    best = _measured(kind, weight.device, _AGAIN_S if name in known else _FIRST_S)
    if best > known.get(name, 0.0):
        known[name] = best
        half = path.with_suffix(f".{os.getpid()}")
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(json.dumps(known, indent=2), encoding="utf-8")
        half.replace(path)
    return known[name]


def _measured(kind: torch.dtype, device: torch.device, seconds: float) -> float:
    """The best of some products: others that use the processor only make them slower."""
    a, b = (torch.randn(_SIDE, _SIDE, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    a, b = a.to(device, kind), b.to(device, kind)
    best = float("inf")
    end = time.monotonic() + seconds
    rounds = 0
    while not rounds or time.monotonic() < end:
        started = time.perf_counter()
        float((a @ b)[0, 0])  # which waits for a device
        best = min(best, time.perf_counter() - started)
        rounds += 1
    return 2.0 * _SIDE**3 / best


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((each.split(":")[1].strip() for each in lines if "model name" in each), "unknown")


def _read(path: Path) -> dict[str, float]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(found)
