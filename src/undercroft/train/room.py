"""Whether what is to be trained fits into the memory that is free."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from undercroft.errors import BadInput
from undercroft.settings import ClusterSettings, TuneSettings
from undercroft.train.models.anatomy import Anatomy
from undercroft.train.models.memory import Estimate, Load, estimate
from undercroft.train.parallel.plan import Plan

_CGROUP: Final = Path("/sys/fs/cgroup")
_DRIVERS: Final = (Path("/dev/nvidiactl"), Path("/dev/kfd"))  # NVIDIA's and AMD's
_FOUR_BITS: Final = 4.13 / 16  # of weights in bf16, their scales counted (`models.quantised`)


def free_memory() -> int:
    """Bytes that a new process may take: what the machine has free, or what its group may have."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        most = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, int(most) - used) if most.isdigit() else free


def free_for(device: str) -> tuple[int, bool]:
    """Bytes that a new process which computes on ``device`` may take, and whether they are the
    device's own, which it shares with no other process."""
    own = None if device == "cpu" or not _may_have_devices() else _of_device(device)
    return (free_memory(), False) if own is None else (own, True)


def _may_have_devices() -> bool:
    """Whether it is worth the seconds that importing torch takes to look for devices."""
    return any(map(Path.exists, _DRIVERS))


def _of_device(device: str) -> int | None:
    from undercroft.train.parallel.device import chosen, free_bytes

    return free_bytes(chosen(device))


def demand_room(
    folder: Path,
    params: TuneSettings,
    section: str,
    cluster: ClusterSettings,
    free_bytes: int | None = None,
) -> None:
    """Raises `BadInput`, saying what would fit, when the processes of this machine that tune the
    model in ``folder`` do not fit into ``free_bytes`` (default: what is free here).

    Counted is what they hold at least: weights, and where these are trained what goes with them.
    Of a model whose anatomy is not known nothing is said, nor of memory that is not a processor's.
    """
    if cluster.engine != "native" or not _is_on_processor(params.device):
        return
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        anatomy = Anatomy.of(config)
    except BadInput:
        return
    load = Load(params.max_tokens, 1, precision=params.precision)
    found = estimate(anatomy, load, Plan.of(params.parallel, section))
    free = free_memory() if free_bytes is None else free_bytes
    need = _Need(found, params, free)
    if need.all_bytes <= free:
        return
    many = need.many
    raise BadInput(
        f"{f'{many} processes that train' if many > 1 else 'Training'} a model of "
        f"{found.parameters:,} parameters take{'' if many > 1 else 's'} more than "
        f"{_gb(need.all_bytes)}, and {_gb(free)} are free.",
        f"{'Each holds' if many > 1 else 'That is'} {_gb(need.weights)} of weights"
        + ("." if params.lora_rank else f", and {_gb(need.each - need.weights)} go with them."),
        need.what_fits(section),
    )


@dataclass(frozen=True)
class _Need:
    """What each of ``params``'s processes holds at least, of ``free`` bytes for all."""

    found: Estimate
    params: TuneSettings
    free: int

    @property
    def many(self) -> int:
        return self.params.parallel.processes

    @property
    def packed(self) -> int:
        return int(self.found.weights * _FOUR_BITS)

    @property
    def weights(self) -> int:
        return self.packed if self.params.lora_bits else self.found.weights

    @property
    def each(self) -> int:
        return self.weights if self.params.lora_rank else self.found.state_bytes

    @property
    def all_bytes(self) -> int:
        return self.many * self.each

    def what_fits(self, section: str) -> str:
        """What to set so that it fits, the least change first."""
        if self.many > 1 and self.each <= self.free:
            return (
                f"Set {section}.parallel.processes to {self.free // self.each} or less, or spread "
                f"the weights with {section}.parallel.shard."
            )
        if not self.params.lora_rank and self.many * self.found.weights <= self.free:
            return f"Adapters fit: set {section}.lora_rank, such as 16."
        if not self.params.lora_bits and self.many * self.packed <= self.free:
            return (
                f"Adapters on weights in 4 bits fit: set {section}.lora_bits to 4, and "
                f"{section}.lora_rank, such as 16."
            )
        return "Take a smaller model, or more machines; see what it takes with: undercroft plan"


def _is_on_processor(device: str) -> bool:
    from undercroft.train.parallel.device import chosen

    return bool(chosen(device).type == "cpu")


def _gb(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"
