"""Engines that are Python programs of their own, each in a supervised child process.

The child, ``python -m undercroft.engines.KIND JSON ANNOUNCEMENT``, is told a `Task` and announces
its address in a file once it answers. Models are named in requests: `BASE`, or an adapter.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from undercroft.engines import liveness
from undercroft.engines.child import EngineChild, Papers
from undercroft.errors import BadInput, EngineFailed, NotFound
from undercroft.processes import Child
from undercroft.settings import EngineSettings
from undercroft.settings.section import Section

BASE: Final = "base"
HOST: Final = "127.0.0.1"


class Task(Section):
    """What an engine is to serve, and how. ``adapters`` are folders in PEFT's format by name."""

    model: Path
    context: int
    slots: int
    threads: int
    port: int = 0
    tuning: EngineSettings = EngineSettings()
    adapters: dict[str, Path] = Field(default_factory=dict)


@dataclass(kw_only=True)
class ServedEngine(EngineChild):
    """One such child."""

    _is_swept: bool = field(default=False, init=False)

    @classmethod
    def start(
        cls,
        kind: str,
        model: Path,
        *,
        context: int,
        slots: int,
        threads: int,
        port: int = 0,
        embeddings: bool = False,
        log: Path | None = None,
        tuning: EngineSettings | None = None,
        adapters: Mapping[str, Path] | None = None,
    ) -> ServedEngine:
        """Start serving the folder ``model``; returns at once, call `wait_ready` before use.

        Raises `NotFound` or `BadInput` when a folder holds no model, or no adapters.
        """
        if embeddings:
            raise BadInput(f"The engine {kind} makes no embeddings.", do="Use llama.cpp for them.")
        check_folder(model)
        named = dict(adapters or {})
        for each in named.values():
            check_adapter(each)
        papers = Papers.at(log)
        task = Task(
            model=model.resolve(),
            context=context,
            slots=slots,
            threads=threads,
            port=port,
            tuning=tuning or EngineSettings(),
            adapters={name: each.resolve() for name, each in named.items()},
        )
        program = ["-m", f"undercroft.engines.{kind}", task.model_dump_json()]
        return cls(
            model=model, adapters={name: number for number, name in enumerate(named)},
            _child=Child.start("engine", [*program, str(papers.announcement)], papers.log),
            _papers=papers,
        )  # fmt: skip

    def responsive(self, timeout_s: float) -> bool:
        """Whether its server answers: it says that it is well only while its model computes."""
        return self.alive() and liveness.healthy(self.base_url, timeout_s)

    def stop(self, grace_s: float = 5.0) -> None:
        """End the child, and what it started and left behind if it was killed. Safe to call
        twice."""
        super().stop(grace_s)
        if not self._is_swept:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)  # the child led a session of its own
            self._is_swept = True

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return when requests are answered. Raises `EngineFailed` that says what the child said
        last; the child is gone then."""
        try:
            self._base_url = self._announced(timeout_s)
        except EngineFailed:
            self.stop()
            raise


def naming(adapter: str = "") -> dict[str, Any]:
    """The fields by which a request asks for ``adapter``, or for the model as it is."""
    return {"model": adapter or BASE}


def check_folder(model: Path) -> None:
    """Fail before a process is started. Raises `NotFound` or `BadInput`."""
    if not model.exists():
        raise NotFound(f"There is no model folder {model}.", do="Make one with: undercroft up")
    if not (model / "config.json").is_file():
        raise BadInput(
            f"{model} is not a model folder.",
            "It has no config.json." if model.is_dir() else "It is a file.",
            "Serve a model with its own weights, such as model:NAME, not a GGUF file of it.",
        )


def check_adapter(folder: Path) -> int:
    """The rank of the LoRA adapters in ``folder``. Raises `BadInput`."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        return int(config["r"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"There are no LoRA adapters in {folder}.",
            f"{type(error).__name__}: {error}.",
            "Make them with: undercroft compress MODEL --adapter",
        ) from None
