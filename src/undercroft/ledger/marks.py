"""What deserves notice in a run, at its step: marks on curves, and rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

#: Events that are told at their step, and how each is called.
WORDS: Final[Mapping[str, str]] = {
    "refused": "rows not used",
    "skipped_step": "step skipped",
    "halved_rate": "rate halved",
    "scale_halved": "loss scale halved",
    "rolled_back": "rolled back",
    "resumed": "resumed",
    "rank_lost": "process lost",
    "stopped_early": "stopped early",
    "best_weights_taken": "best weights taken",
}
_MOST_NAMES: Final = 12


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at ``step``; ``to_step`` is where the weights went back to."""

    step: int
    kind: str
    detail: Mapping[str, Any]
    to_step: int | None = None

    @property
    def words(self) -> str:
        """In a few words what it was, and what is known of why."""
        said = WORDS[self.kind]
        if self.to_step is not None:
            to = "of" if self.kind == "best_weights_taken" else "to"
            said += f" {to} step {self.to_step:,}"
        loss = self.detail.get("heldout_loss")
        if loss is not None:
            said += f", held-out loss {loss:.4g}"
        return said

    @property
    def why(self) -> str:
        """The cause, loss and gradient norm of a bad step."""
        found = [str(self.detail[name]) for name in ("cause", "why") if name in self.detail]
        found += [
            f"{name.replace('_', ' ')} {_short(self.detail[name])}"
            for name in ("loss", "grad_norm")
            if name in self.detail
        ]
        return ", ".join(found)

    @property
    def names(self) -> Sequence[str]:
        """The documents of the batch, or its examples where no document is known."""
        return list(self.detail.get("documents") or self.detail.get("examples") or ())

    @property
    def shown_names(self) -> str:
        """The first of them."""
        more = len(self.names) - _MOST_NAMES
        return ", ".join(self.names[:_MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def marks_of(events: Sequence[tuple[datetime, str, Mapping[str, Any]]]) -> list[Mark]:
    """The marks of a run by step; what an attempt did again after a crash is there once."""
    found: dict[tuple[int, str], Mark] = {}
    for _, kind, detail in events:
        step = detail.get("step")
        if kind not in WORDS or not isinstance(step, int):
            continue
        to_step = detail.get("to_step", detail.get("best_step"))
        if kind == "stopped_early":
            to_step = None
        found[step, kind] = Mark(step, kind, detail, to_step)
    return sorted(found.values(), key=lambda mark: mark.step)


def _short(value: Any) -> str:
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)
