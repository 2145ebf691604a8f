"""Whether what is to be trained fits into the memory that is free."""

from __future__ import annotations

import json
from pathlib import Path

from undercroft.errors import BadInput
from undercroft.settings import ClusterSettings, TuneSettings
from undercroft.train.models.anatomy import Anatomy
from undercroft.train.models.memory import Load, estimate
from undercroft.train.parallel.plan import Plan

_CGROUP = Path("/sys/fs/cgroup")


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


def demand_room(
    folder: Path,
    params: TuneSettings,
    section: str,
    cluster: ClusterSettings,
    free_bytes: int | None = None,
) -> None:
    """Raises `BadInput` when several processes of this machine that tune the model in ``folder`` do
    not fit into ``free_bytes`` (default: what is free here).

    Counted is what they hold at least: weights, and where these are trained what goes with them.
    Of a model whose anatomy is not known nothing is said, nor of one process alone.
    """
    many = params.parallel.processes
    if many == 1 or cluster.engine != "native":
        return
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        anatomy = Anatomy.of(config)
    except BadInput:
        return
    load = Load(params.max_tokens, 1, precision=params.precision)
    found = estimate(anatomy, load, Plan.of(params.parallel, section))
    each = found.weights if params.lora_rank else found.state_bytes
    free = free_memory() if free_bytes is None else free_bytes
    if many * each > free:
        raise BadInput(
            f"{many} processes that train a model of {found.parameters:,} parameters need more "
            f"than {many * each / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free.",
            f"Each holds {each / 1e9:,.1f} GB of weights and what goes with them.",
            f"Set {section}.parallel.processes to {max(1, free // each)} or less, or spread the "
            f"weights with {section}.parallel.shard.",
        )
