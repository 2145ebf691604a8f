"""Where a run stands: all of it that changes from step to step and is no tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from undercroft.settings import LoopSettings
from undercroft.train.guard import Guard
from undercroft.train.heldout import Patience
from undercroft.train.points import Tally
from undercroft.train.samples.data import Sampler
from undercroft.train.scaling import LossScale
from undercroft.train.schedule import Schedule


@dataclass
class Standing:
    """What is read next, how far it is, what was learnt, what went wrong, and what was best."""

    sampler: Sampler
    schedule: Schedule
    tally: Tally
    guard: Guard
    patience: Patience
    scale: LossScale

    @classmethod
    def at_start(cls, params: LoopSettings, num_samples: int) -> Standing:
        """Of a run that has not begun."""
        return cls(
            Sampler(num_samples, params.seed),
            Schedule(
                params.learning_rate, params.warmup_fraction, params.minutes * 60, params.max_steps
            ),
            Tally(),
            Guard(params.spike_threshold, params.guard_window),
            Patience(params.patience),
            LossScale.of(params.precision),
        )

    @property
    def is_done(self) -> bool:
        """Whether no step is left, or none is wanted any more."""
        return not self.schedule.steps_left or self.patience.is_out

    def as_state(self) -> dict[str, Any]:
        """Plain JSON, which `take_up` takes."""
        return {
            "sampler": self.sampler.position,
            "schedule": asdict(self.schedule),
            "tally": asdict(self.tally),
            "guard": asdict(self.guard),
            "patience": asdict(self.patience),
            "scale": asdict(self.scale),
        }

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Stand where the run stood when ``state`` was taken down."""
        self.sampler.position = state["sampler"]
        self.schedule = Schedule(**state["schedule"])
        self.tally = Tally(**state["tally"])
        self.guard = Guard(**state["guard"])
        self.patience = Patience(**state["patience"])
        self.scale = LossScale(**state["scale"])
