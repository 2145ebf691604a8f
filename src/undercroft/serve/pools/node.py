"""On a node of a cluster: one engine, its files, and the door by which the gateway reaches it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from undercroft.engines import Engine, start_engine
from undercroft.serve.pools.relay import Relay
from undercroft.settings import EngineSettings

STORED = "undercroft/models"


class Wanted(msgspec.Struct, frozen=True):
    """A file of the gateway's machine that an engine needs."""

    path: str
    size: int
    sha256: str

    @property
    def stored(self) -> Path:
        """Where a node keeps its copy."""
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(base) / STORED / self.sha256[:16] / Path(self.path).name


class Start(msgspec.Struct, frozen=True):
    """How the engine is to be started."""

    kind: str
    model: Wanted
    context: int
    slots: int
    threads: int
    tuning: dict[str, Any]
    adapters: dict[str, Wanted]
    token: str
    is_shared: bool = True  # the node may find the gateway's files at the same path


class EngineHost:
    """The actor. Its methods answer while the engine works, and while it starts."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._relay: Relay | None = None
        self._process: psutil.Process | None = None
        self._found: dict[str, Path] = {}

    async def address(self) -> str:
        """By which others reach this node."""
        import ray

        address: Any = ray.util.get_node_ip_address
        return str(address())

    async def missing(self, start: Start) -> Sequence[Wanted]:
        """The files that have to be brought here."""
        files = (start.model, *start.adapters.values())
        return [each for each in files if self._find(each, start.is_shared) is None]

    def _find(self, wanted: Wanted, is_shared: bool) -> Path | None:
        places = ([Path(wanted.path)] if is_shared else []) + [wanted.stored]
        for place in places:
            if place.is_file() and place.stat().st_size == wanted.size:
                self._found[wanted.path] = place
                return place
        return None

    async def receive(self, wanted: Wanted, offset: int, block: bytes) -> None:
        """A part of a file; parts come in order, and the first begins it anew."""
        await asyncio.to_thread(self._write, wanted, offset, block)

    def _write(self, wanted: Wanted, offset: int, block: bytes) -> None:
        half = self._half(wanted)
        half.parent.mkdir(parents=True, exist_ok=True)
        with half.open("r+b" if offset else "wb") as out:
            out.seek(offset)
            out.write(block)

    async def complete(self, wanted: Wanted) -> str:
        """Put a file that was received where it stays; an error's text when it is not the file."""
        half = self._half(wanted)
        if await asyncio.to_thread(_digest, half) != wanted.sha256:
            half.unlink()
            return "What arrived is not what was sent."
        half.replace(wanted.stored)
        self._found[wanted.path] = wanted.stored
        return ""

    def _half(self, wanted: Wanted) -> Path:
        return wanted.stored.with_suffix(f".{os.getpid()}.part")

    async def start(self, start: Start) -> tuple[str, Mapping[str, int]]:
        """Start the engine; the URL that others reach it by, and its adapters."""
        adapters = {name: self._found[each.path] for name, each in start.adapters.items()}
        self._engine = await asyncio.to_thread(self._begin, start, adapters)
        self._process = psutil.Process(self._engine.pid)
        self._relay = Relay(await self.address(), self._engine.base_url, start.token)
        return await self._relay.start(), dict(self._engine.adapters)

    def _begin(self, start: Start, adapters: Mapping[str, Path]) -> Engine:
        log = Path(tempfile.mkdtemp(prefix="undercroft-node-")) / "engine.log"
        engine = start_engine(
            start.kind,
            self._found[start.model.path],
            context=start.context,
            slots=start.slots,
            threads=start.threads,
            log=log,
            tuning=EngineSettings(**start.tuning),
            adapters=adapters,
        )
        engine.wait_ready(120.0)
        return engine

    async def beat(self) -> tuple[bool, float]:
        """Whether the engine runs, and the processor time that it used."""
        if self._engine is None or self._process is None or not self._engine.alive():
            return False, 0.0
        try:
            times = self._process.cpu_times()
        except psutil.Error:
            return False, 0.0
        return True, times.user + times.system

    async def responsive(self, timeout_s: float) -> bool:
        engine = self._engine
        return engine is not None and await asyncio.to_thread(engine.responsive, timeout_s)

    async def pid(self) -> int:
        """Of the engine; 0 without one."""
        return self._engine.pid if self._engine is not None else 0

    async def stop(self) -> None:
        if self._relay is not None:
            self._relay.close()
        if self._engine is not None:
            await asyncio.to_thread(self._engine.stop)


def wanted(path: Path) -> Wanted:
    """``path`` as a node has to have it."""
    return Wanted(str(path.resolve()), path.stat().st_size, _digest(path))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
