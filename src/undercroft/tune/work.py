"""What engines are measured on: prompts as the gateway writes them, and how they are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from undercroft.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class Task:
    """A conversation, and the answer whose likelihood is measured after it."""

    chat: Sequence[Mapping[str, str]]
    answer: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file of a model in some format, and how the engine is to compute with it, on how many
    ``threads`` (0: as many as there are cores)."""

    format: str
    file: Path
    engine: EngineSettings
    threads: int = 0

    @property
    def unguessed(self) -> Candidate:
        """The same without guessed tokens. It writes what this one writes, and tells of every
        token how likely it was; of guessed ones that were right, llama.cpp does not."""
        return replace(
            self, engine=self.engine.model_copy(update={"speculation": "off", "draft": ""})
        )

    @property
    def name(self) -> str:
        told = self.engine.model_dump(exclude_defaults=True)
        if "draft" in told:
            told["draft"] = Path(told["draft"]).stem
        told |= {"threads": self.threads} if self.threads else {}
        return " ".join([self.format, *(f"{key}={value}" for key, value in told.items())])
