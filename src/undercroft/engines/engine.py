"""What every engine can do, and the registry of engines by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NotRequired, Protocol, Self, TypedDict, Unpack

from undercroft.engines.llamacpp import LlamaServer
from undercroft.engines.served import ServedEngine
from undercroft.errors import NotFound
from undercroft.settings import EngineSettings


class Engine(Protocol):
    """One running model behind an OpenAI-compatible HTTP address."""

    @property
    def base_url(self) -> str:
        """``http://host:port`` without a trailing slash; known once the engine is ready."""
        ...

    @property
    def pid(self) -> int: ...

    @property
    def adapters(self) -> Mapping[str, int]:
        """Ids of the adapters it can apply, by name; requests name one by `adapter_fields`."""
        ...

    def alive(self) -> bool:
        """Whether its process runs."""
        ...

    def responsive(self, timeout_s: float) -> bool:
        """Whether it is at work, or answers a small question within ``timeout_s``. Blocks."""
        ...

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return when requests are answered; raises `EngineFailed` if that does not come."""
        ...

    def stop(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        ...


class How(TypedDict):
    """What an engine is to be started with besides its model; see `LlamaServer.start`."""

    context: int
    slots: int
    threads: int
    port: NotRequired[int]
    embeddings: NotRequired[bool]
    log: NotRequired[Path | None]
    tuning: NotRequired[EngineSettings | None]
    adapters: NotRequired[Mapping[str, Path] | None]


class Starter(Protocol):
    """How an engine of one kind is started. Returns at once; call ``wait_ready`` before use."""

    def __call__(self, model: Path, **how: Unpack[How]) -> Engine: ...


ENGINES: Mapping[str, Starter] = {
    "llamacpp": LlamaServer.start,
    "transformers": partial(ServedEngine.start, "transformers"),
    "vllm": partial(ServedEngine.start, "vllm"),
}
"""Every kind of engine by name; a new one is one module and one line here."""

DEFAULT_ENGINE = "llamacpp"
"""What runs a model whose meta names no ``engine``."""


def start_engine(name: str, model: Path, **how: Unpack[How]) -> Engine:
    """Start the engine called ``name``; raises `NotFound` for a name nobody registered."""
    if name not in ENGINES:
        raise NotFound(
            f"There is no engine {name!r}.", name, ENGINES, f"Engines: {', '.join(ENGINES)}."
        )
    return ENGINES[name](model, **how)
