"""What engines in supervised child processes have in common: a log, an address, an end."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from undercroft.errors import EngineFailed
from undercroft.processes import Child


@dataclass(kw_only=True)
class Papers:
    """Files of one child: its ``log``, and where it will announce itself. ``owned`` is a folder
    that holds them and goes with the engine, when nobody named a log."""

    log: Path
    announcement: Path
    owned: Path | None

    @classmethod
    def at(cls, log: Path | None) -> Papers:
        """With this log, or one that is kept until the engine is stopped."""
        owned = Path(tempfile.mkdtemp(prefix="undercroft-engine-")) if log is None else None
        file = log if log is not None else Path(str(owned)) / "engine.log"
        announcement = file.with_suffix(f".{secrets.token_hex(4)}.ready.json")
        return cls(log=file, announcement=announcement.resolve(), owned=owned)


@dataclass(kw_only=True)
class EngineChild:
    """One child process that serves ``model``; ``adapters`` are the ids of the adapters it can
    apply, by name. See `undercroft.engines.Engine` for what is promised."""

    model: Path
    adapters: Mapping[str, int]
    _child: Child
    _papers: Papers
    _base_url: str = field(default="", init=False)

    @property
    def base_url(self) -> str:
        if not self._base_url:
            raise EngineFailed(
                "The engine is not ready.", "It has no address yet.", "Call wait_ready first."
            )
        return self._base_url

    @property
    def pid(self) -> int:
        return self._child.process.pid

    @property
    def log(self) -> Path:
        return self._papers.log

    def alive(self) -> bool:
        return self._child.alive()

    def _announced(self, timeout_s: float) -> str:
        """The address that the child tells once it answers. Raises `EngineFailed`."""
        announced = self._child.wait_for(self._papers.announcement, timeout_s)
        self._papers.announcement.unlink(missing_ok=True)
        return str(announced["base_url"])

    def stop(self, grace_s: float = 5.0) -> None:
        """End the child; a request in flight loses its connection. Safe to call twice."""
        self._child.stop(grace_s)
        self._papers.announcement.unlink(missing_ok=True)
        if self._papers.owned is not None:
            shutil.rmtree(self._papers.owned, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def usable_cores() -> int:
    """Cores this process may run on, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
