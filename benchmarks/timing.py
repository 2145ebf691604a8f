"""A run of our loop, timed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from undercroft.settings import LoopSettings
    from undercroft.train.objectives.objective import Objective
    from undercroft.train.points import Tally


def trained(
    model: Any, goal: Objective[Any], samples: Sequence[Sized], params: LoopSettings
) -> tuple[Tally, dict[str, float]]:
    """Train ``model`` as ``params`` say; what was read, and seconds by the clock and of CPU."""
    from undercroft.train.loop import Run

    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            model,
            goal,
            samples,
            params,
            folder=Path(folder),
            config_digest="benchmark",
            event=lambda kind, detail: None,
        )
        started, cpu = time.monotonic(), time.process_time()
        tally = run.train(lambda point, schedule: None)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    return tally, {"seconds": seconds, "cpu_seconds": cpu}
