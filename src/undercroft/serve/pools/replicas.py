"""Replicas: one running engine each, here as a child process or elsewhere behind an address."""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from undercroft.engines import (
    DEFAULT_ENGINE,
    Engine,
    adapter_fields,
    sampling_params,
    served,
    start_engine,
)
from undercroft.errors import BadInput
from undercroft.settings import EngineSettings, SamplingSettings, Settings

READY_TIMEOUT_S = 120.0
FOLDER_READY_TIMEOUT_S = 900.0  # vLLM compiles and measures for minutes
REMOTE = "remote"
LLAMACPP = DEFAULT_ENGINE


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens, in the meter's currency."""

    read: float = 0.0
    written: float = 0.0

    def of(self, read: int, written: int) -> float:
        return (read * self.read + written * self.written) / 1e6


FREE = Price()


class Replica(Protocol):
    """One running engine. ``slots`` is how many requests it answers at once."""

    slots: int
    headers: Mapping[str, str]
    defaults: Mapping[str, Any]  # payload fields that every request to it carries
    local: bool  # runs on this machine: its energy is ours, and warming it costs nobody money
    accepts: frozenset[str]  # what it takes besides text: tools, image, audio
    price: Price  # asked by whoever runs it; of a local one, nothing but its energy
    elastic: bool  # nobody knows its slots: how many it answers at once has to be found out

    @property
    def url(self) -> str: ...
    async def start(self) -> None:
        """Start it and return when it answers. Raises `EngineFailed`."""
        ...

    def alive(self) -> bool: ...
    async def responsive(self, timeout_s: float) -> bool:
        """Whether it reacts within ``timeout_s``; False where nobody can be asked."""
        ...

    def cpu_s(self) -> float:
        """Seconds of processor time used so far on this machine."""
        ...

    def naming(self, adapter: str) -> Mapping[str, Any]:
        """The payload fields by which a request asks for ``adapter``; "" is the model alone."""
        ...

    def drawing(self, sampling: SamplingSettings) -> Mapping[str, Any]:
        """The payload fields by which a request says how tokens are drawn."""
        ...

    async def stop(self) -> None: ...


@dataclass
class LocalReplica:
    """An engine in a supervised child process. ``adapters`` are its files by ref."""

    kind: str
    model: Path
    context: int
    slots: int
    threads: int
    log: Path
    tuning: EngineSettings = field(default_factory=EngineSettings)
    headers: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    local: bool = True
    accepts: frozenset[str] = frozenset()
    price: Price = FREE
    elastic: bool = False
    adapters: Mapping[str, Path] = field(default_factory=dict)
    server: Engine | None = None
    _process: psutil.Process | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.base_url

    @property
    def pid(self) -> int | None:
        return self.server.pid if self.server is not None else None

    async def start(self) -> None:
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        self.server = start_engine(
            self.kind,
            self.model,
            context=self.context,
            slots=self.slots,
            threads=self.threads,
            log=self.log,
            tuning=self.tuning,
            adapters=self.adapters,
        )
        is_quick = self.kind == LLAMACPP
        self.server.wait_ready(READY_TIMEOUT_S if is_quick else FOLDER_READY_TIMEOUT_S)
        self._process = psutil.Process(self.server.pid)
        self.accepts = accepted(self.server.base_url)

    def alive(self) -> bool:
        return self.server is not None and self.server.alive()

    async def responsive(self, timeout_s: float) -> bool:
        assert self.server is not None
        return await asyncio.to_thread(self.server.responsive, timeout_s)

    def cpu_s(self) -> float:
        try:
            times = self._process.cpu_times() if self._process is not None else None
        except psutil.Error:
            return 0.0
        return times.user + times.system if times is not None else 0.0

    def naming(self, adapter: str) -> Mapping[str, Any]:
        assert self.server is not None
        return naming(self.kind, self.server.adapters, adapter)

    def drawing(self, sampling: SamplingSettings) -> Mapping[str, Any]:
        return drawing(self.kind, sampling)

    async def stop(self) -> None:
        if self.server is not None:
            await asyncio.to_thread(self.server.stop)


@dataclass
class RemoteReplica:
    """An OpenAI-compatible service elsewhere; its energy is not ours to count. An ``elastic`` one
    did not say how many requests it takes at once: ``slots`` is where finding out begins."""

    base_url: str
    slots: int
    headers: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    local: bool = False
    accepts: frozenset[str] = frozenset({"tools"})
    price: Price = FREE
    elastic: bool = False

    @property
    def url(self) -> str:
        return self.base_url

    async def start(self) -> None:
        return None

    def alive(self) -> bool:
        return True

    async def responsive(self, timeout_s: float) -> bool:  # noqa: ARG002
        return False

    def cpu_s(self) -> float:
        return 0.0

    def naming(self, adapter: str) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def drawing(self, sampling: SamplingSettings) -> Mapping[str, Any]:
        return {"temperature": sampling.temperature}

    async def stop(self) -> None:
        return None


def naming(kind: str, adapters: Mapping[str, int], adapter: str) -> Mapping[str, Any]:
    """How a request to an engine of ``kind``, which holds ``adapters``, names one or none."""
    return adapter_fields(adapters, adapter) if kind == LLAMACPP else served.naming(adapter)


def drawing(kind: str, sampling: SamplingSettings) -> Mapping[str, Any]:
    """How a request to an engine of ``kind`` says how tokens are drawn. DRY is llama.cpp's alone;
    others have the penalty on what was said once."""
    if kind == LLAMACPP:
        return sampling_params(sampling)
    return {
        "temperature": sampling.temperature,
        "repetition_penalty": sampling.repeat_penalty,
        "max_tokens": sampling.max_tokens,
    }


def build(
    meta: Mapping[str, Any],
    path: Path | None,
    settings: Settings,
    log: Path,
    adapters: Mapping[str, Path] | None = None,
    *,
    secret: Callable[[str], str | None] = os.environ.get,
) -> Replica:
    """A replica, not yet started, of the model with ``meta`` whose files are at ``path``.

    ``meta["engine"]`` is one of `undercroft.engines.ENGINES` or ``remote``; ``log`` is where a
    local engine writes. ``adapters`` are the files of each by ref; ``secret`` knows the keys of
    remote ones by name. Raises `BadInput` where files
    are missing, or somebody else's engine is to hold adapters.
    """
    kind = str(meta.get("engine") or settings.serve.engine)
    named = adapters or {}
    if kind == REMOTE:
        if named:
            raise BadInput(
                f"A remote engine cannot hold {', '.join(named)}.",
                "Adapters are for engines that run here.",
                "Release them beside a model of your own.",
            )
        return _remote(meta, settings, secret)
    if path is None:
        raise BadInput(f"A model for the engine {kind!r} needs its files.", "This one has none.")
    serve = settings.serve
    if serve.cluster == "ray":
        from undercroft.serve.pools.on_ray import RayReplica

        return RayReplica(
            kind, files_for(kind, path), settings.model.context, serve.slots, serve.threads,
            settings.cluster, settings.engine,
            adapters={ref: files_for(kind, file) for ref, file in named.items()},
        )  # fmt: skip
    return LocalReplica(
        kind, files_for(kind, path), settings.model.context, serve.slots, serve.threads, log,
        settings.engine, adapters={ref: files_for(kind, file) for ref, file in named.items()},
    )  # fmt: skip


def _remote(
    meta: Mapping[str, Any], settings: Settings, secret: Callable[[str], str | None]
) -> Replica:
    """Meta: ``base_url``, its name for the ``model``, the secret or variable that its key comes
    from, its prices, and what it ``accepts`` besides text, tools by default."""
    url = str(meta["base_url"]).rstrip("/").removesuffix("/v1")
    slots = int(meta.get("slots", settings.serve.slots))
    defaults = {"model": meta["model"]} if "model" in meta else {}
    name = str(meta.get("key_from", ""))
    key = (secret(name) or os.environ.get(name, "")) if name else ""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    accepts = frozenset(map(str, meta.get("accepts", ["tools"])))
    price = Price(float(meta.get("price_in", 0)), float(meta.get("price_out", 0)))
    price = price if price != FREE else FREE
    return RemoteReplica(
        url, slots, headers, defaults, accepts=accepts, price=price,
        elastic="slots" not in meta,
    )  # fmt: skip


def accepted(base_url: str, headers: Mapping[str, str] | None = None) -> frozenset[str]:
    """What llama.cpp says of its model: does the chat template know tools, are there encoders of
    images and sound? Nothing, when an engine does not say."""
    try:
        asked = urllib.request.Request(f"{base_url}/props", headers=dict(headers or {}))  # noqa: S310
        with urllib.request.urlopen(asked, timeout=10) as reply:  # noqa: S310
            said = json.load(reply)
    except (OSError, ValueError):
        return frozenset()
    caps, modalities = said.get("chat_template_caps") or {}, said.get("modalities") or {}
    able = {
        "tools": caps.get("supports_tools") and caps.get("supports_tool_calls"),
        "image": modalities.get("vision"),
        "audio": modalities.get("audio"),
    }
    return frozenset(name for name, is_able in able.items() if is_able)


def files_for(kind: str, path: Path) -> Path:
    """What an engine of ``kind`` reads of a model, or of adapters, at ``path``."""
    return gguf_in(path) if kind == LLAMACPP else path


def gguf_in(path: Path) -> Path:
    """The GGUF file that ``path`` is, or that the folder ``path`` holds."""
    if path.is_file():
        return path
    files = sorted(path.glob("*.gguf"))
    if not files:
        raise BadInput(
            f"{path} holds no .gguf file.",
            "llama.cpp reads nothing else.",
            "Make one (undercroft compress MODEL), or set serve.engine to vllm or transformers.",
        )
    return files[0]
