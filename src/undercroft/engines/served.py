"""Engines that are Python programs of their own, each in a supervised child process.

The child, ``python -m undercroft.engines.KIND JSON ANNOUNCEMENT``, is told a `Task` and announces
its address in a file once it answers. Models are named in requests: `BASE`, or an adapter.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field

from undercroft.engines import liveness
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


@dataclass
class ServedEngine:
    """One such child; see `undercroft.engines.Engine` for what is promised."""

    model: Path
    log: Path
    adapters: Mapping[str, int]
    _child: Child
    _announcement: Path
    _owned_folder: Path | None = None
    _base_url: str = field(default="", init=False)

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
        owned = Path(tempfile.mkdtemp(prefix="undercroft-engine-")) if log is None else None
        log_file = log if log is not None else Path(str(owned)) / "engine.log"
        announcement = log_file.with_suffix(f".{secrets.token_hex(4)}.ready.json").resolve()
        task = Task(
            model=model.resolve(),
            context=context,
            slots=slots,
            threads=threads,
            port=port,
            tuning=tuning or EngineSettings(),
            adapters={name: each.resolve() for name, each in named.items()},
        )
        arguments = ["-m", f"undercroft.engines.{kind}", task.model_dump_json(), str(announcement)]
        child = Child.start("engine", arguments, log_file)
        numbers = {name: number for number, name in enumerate(named)}
        return cls(model, log_file, numbers, child, announcement, owned)

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

    def alive(self) -> bool:
        return self._child.alive()

    def responsive(self, timeout_s: float) -> bool:
        """Whether its server answers: it says that it is well only while its model computes."""
        return self.alive() and liveness.healthy(self.base_url, timeout_s)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return when requests are answered. Raises `EngineFailed` that says what the child said
        last; the child is gone then."""
        try:
            self._base_url = self._child.wait_for(self._announcement, timeout_s)["base_url"]
        except EngineFailed:
            self.stop()
            raise
        self._announcement.unlink(missing_ok=True)

    def stop(self, grace_s: float = 5.0) -> None:
        """End the child; a request in flight loses its connection. Safe to call twice."""
        self._child.stop(grace_s)
        self._announcement.unlink(missing_ok=True)
        if self._owned_folder is not None:
            shutil.rmtree(self._owned_folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


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


def cores(threads: int) -> int:
    """``threads``, or every core this process may use if that is 0."""
    if hasattr(os, "sched_getaffinity"):
        return threads or len(os.sched_getaffinity(0))
    return threads or os.cpu_count() or 1
