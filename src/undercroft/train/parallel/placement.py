"""Which part of each weight this rank holds, and who holds the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from undercroft.train.parallel.team import Team, share

if TYPE_CHECKING:
    from undercroft.train.parallel.stages import Chunk

_ATTRIBUTE = "_undercroft_arrangement"


@dataclass(frozen=True, slots=True)
class Part:
    """A block of a tensor: where it lies ``at`` in the ``whole``.

    ``copies`` ranks hold the same block; of those this one is number ``copy``.
    """

    whole: tuple[int, ...]
    at: tuple[int, ...]
    copy: int = 0
    copies: int = 1


@dataclass(frozen=True)
class Arrangement:
    """How a model lies over a ``team``; by the names that its weights have on every rank.

    Of the weights in ``splits`` tensor ranks hold a share along that dimension. Those in
    ``partial`` they hold whole, but each finds only a part of their gradient. ``tied`` are those
    that the first and the last of the pipeline both hold. ``chunks`` are this rank's stages.
    If it ``recomputes``, a backward pass calls blocks again.
    """

    team: Team
    splits: Mapping[str, int] = field(default_factory=dict[str, int])
    partial: frozenset[str] = frozenset()
    tied: frozenset[str] = frozenset()
    chunks: tuple[Chunk, ...] = ()
    schedule: str = ""
    recomputes: bool = False

    def part(self, name: str, weight: Tensor, *, by_rows: bool = False) -> Part:
        """What is held of ``weight``; ``by_rows``: of a whole one, the share of its rows."""
        team = self.team
        shape, at = list(weight.shape), [0] * weight.ndim
        is_shared = is_spread(weight) or by_rows
        if is_shared:
            at[0] = share(shape[0], team.shard).start
        dim = self.splits.get(name)
        if dim is not None:
            at[dim] += team.tensor.rank * shape[dim]
            shape[dim] *= team.tensor.size
        copy, copies = team.data.rank, team.data.size
        if is_shared:
            copy, copies = copy // team.shard.size, copies // team.shard.size
        if dim is None:
            copy, copies = copy * team.tensor.size + team.tensor.rank, copies * team.tensor.size
        if name in self.tied:
            copy, copies = copy * team.ends.size + team.ends.rank, copies * team.ends.size
        return Part(tuple(shape), tuple(at), copy, copies)


def arrange(model: nn.Module, arrangement: Arrangement) -> None:
    """Let `arranged` find how ``model`` lies."""
    setattr(model, _ATTRIBUTE, arrangement)


def arranged(model: nn.Module, team: Team) -> Arrangement:
    """How ``model`` lies over ``team``: in whole copies, if nobody arranged it otherwise."""
    found: Arrangement | None = getattr(model, _ATTRIBUTE, None)
    return found if found is not None and found.team is team else Arrangement(team)


def is_spread(weight: Tensor) -> bool:
    """Whether this rank holds only rows of ``weight``: whether it is a DTensor."""
    return hasattr(weight, "device_mesh")


def own(weight: Any) -> Tensor:
    """What this rank holds of ``weight``, in the same memory."""
    held: Tensor = weight.to_local() if is_spread(weight) else weight
    return held
