"""How many processes there are of each kind: what every part of training in parallel agrees on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from undercroft.errors import BadConfig
from undercroft.settings import ParallelSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """A grid of processes; the rank of one counts tensor fastest and pipeline slowest.

    ``replicate`` copies read different samples, as do the ``shard`` ranks of each copy, which hold
    rows of its weights. ``tensor`` ranks share matrices and ``pipeline`` ranks blocks: all of those
    read the same.
    """

    replicate: int = 1
    shard: int = 1
    tensor: int = 1
    pipeline: int = 1

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.data * self.model

    @property
    def data(self) -> int:
        """Processes that read different samples."""
        return self.replicate * self.shard

    @property
    def model(self) -> int:
        """Processes that read the same sample, each for its part of the model."""
        return self.tensor * self.pipeline

    @classmethod
    def of(cls, settings: ParallelSettings, section: str = "train") -> Plan:
        """The plan that ``settings`` ask for; raises `BadConfig` when they do not multiply."""
        found = cls(1, settings.shard, settings.tensor, settings.pipeline)
        return found.filled(settings.processes, section)

    def filled(self, processes: int, section: str = "train") -> Plan:
        """As many copies as ``processes`` make; raises `BadConfig` for a number that makes none."""
        copy = self.shard * self.model
        if processes % copy:
            raise BadConfig(
                f"{processes} processes cannot be shared out as {section}.parallel says.",
                f"One copy of the model takes {self.shard} (shard) x {self.tensor} (tensor) x "
                f"{self.pipeline} (pipeline) = {copy} of them.",
                f"Set {section}.parallel.processes to a multiple of {copy}.",
            )
        return replace(self, replicate=processes // copy)


def is_cut(parallel: ParallelSettings) -> bool:
    """Whether no process holds all of the model."""
    return parallel.shard * parallel.tensor * parallel.pipeline > 1
