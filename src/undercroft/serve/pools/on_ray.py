"""Replicas on the nodes of a Ray cluster: each an actor that keeps an engine on its node.

The pool in front of them is the same as for engines of this machine: Ray chooses the node, brings
the files there and says when a node is gone; a request goes straight to its engine over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from undercroft.errors import EngineFailed, MissingExtra
from undercroft.serve.pools import node
from undercroft.serve.pools.node import EngineHost, Start, Wanted
from undercroft.serve.pools.replicas import FREE, Price, accepted, drawing, naming
from undercroft.settings import ClusterSettings, EngineSettings, SamplingSettings
from undercroft.spread.on_ray import connect

log = logging.getLogger(__name__)
_joining = threading.Lock()

PLACED_WITHIN_S = 30.0
READY_WITHIN_S = 150.0
STOPPED_WITHIN_S = 5.0
BEAT_S = 0.5
LOST_AFTER_S = 3.0  # without a beat; a node that is gone says nothing
BLOCK = 32 * 1024 * 1024


@dataclass
class RayReplica:
    """An engine on whichever node has ``threads`` processors to spare (one, if that is 0)."""

    kind: str
    model: Path
    context: int
    slots: int
    threads: int
    cluster: ClusterSettings
    tuning: EngineSettings = field(default_factory=EngineSettings)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    adapters: Mapping[str, Path] = field(default_factory=dict)
    is_shared: bool = True
    local: bool = True  # ours, on whatever machine: measured, warmed and paid for by us
    accepts: frozenset[str] = frozenset()
    price: Price = FREE
    elastic: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, init=False)
    place: str = field(default="", init=False)
    _url: str = field(default="", init=False)
    _named: Mapping[str, int] = field(default_factory=dict, init=False)
    _actor: Any = field(default=None, init=False)
    _beats: asyncio.Task[None] | None = field(default=None, init=False)
    _beat_at: float = field(default=0.0, init=False)
    _cpu_s: float = field(default=0.0, init=False)

    @property
    def url(self) -> str:
        return self._url

    async def start(self) -> None:
        """Place an actor, bring it what it lacks, have it start the engine."""
        await self.stop()
        ray = await asyncio.to_thread(_ray, self.cluster)
        token = secrets.token_urlsafe(24)
        start = await asyncio.to_thread(self._start_with, token)
        kind = ray.remote(
            num_cpus=self.threads or 1, max_restarts=0, max_concurrency=16,
            scheduling_strategy="SPREAD",
        )(EngineHost)  # fmt: skip
        self._actor = kind.remote()
        try:
            self.place = await self._ask("address", within_s=PLACED_WITHIN_S)
            for each in await self._ask("missing", start, within_s=PLACED_WITHIN_S):
                await self._bring(each)
            self._url, self._named = await self._ask("start", start, within_s=READY_WITHIN_S)
        except BaseException:
            await self.stop()
            raise
        # llama.cpp hangs up after a stream that it promised not to; over a relay that is heard of
        # too late to spare the next request the same connection.
        self.headers = {"authorization": f"Bearer {token}", "connection": "close"}
        self.accepts = await asyncio.to_thread(accepted, self._url, self.headers)
        self._beat_at = time.monotonic()
        self._beats = asyncio.create_task(self._follow())
        log.info("an engine runs on %s", self.place)

    def _start_with(self, token: str) -> Start:
        return Start(
            self.kind, node.wanted(self.model), self.context, self.slots, self.threads,
            self.tuning.model_dump(mode="json"),
            {name: node.wanted(path) for name, path in self.adapters.items()},
            token, self.is_shared,
        )  # fmt: skip

    async def _bring(self, file: Wanted) -> None:
        """Send a file in blocks through the cluster's object store, one at a time."""
        with Path(file.path).open("rb") as stream:
            offset = 0
            while block := await asyncio.to_thread(stream.read, BLOCK):
                await self._ask("receive", file, offset, block, within_s=READY_WITHIN_S)
                offset += len(block)
        if fault := await self._ask("complete", file, within_s=READY_WITHIN_S):
            raise EngineFailed(f"{Path(file.path).name} did not reach {self.place}.", fault)

    async def _ask(self, what: str, *arguments: Any, within_s: float) -> Any:
        """What the actor answers. Raises `EngineFailed` when its node is gone or too slow."""
        from ray import exceptions

        try:
            async with asyncio.timeout(within_s):
                return await getattr(self._actor, what).remote(*arguments)
        except exceptions.RayTaskError as error:
            raise error.cause or error from None
        except exceptions.RayError as error:
            raise EngineFailed("The engine's node is gone.", f"{type(error).__name__}.") from None
        except TimeoutError:
            if self.place:
                raise EngineFailed(f"The node {self.place} does not answer.") from None
            raise EngineFailed(
                "The cluster has no room for another engine.",
                f"None of its nodes had {self.threads or 1} processors to spare.",
                "Add a node, or lower serve.replicas or serve.threads.",
            ) from None

    async def _follow(self) -> None:
        """Take the pulse for as long as there is one."""
        while True:
            try:
                is_alive, cpu_s = await self._ask("beat", within_s=LOST_AFTER_S)
            except Exception as error:  # whatever it is, the engine cannot be counted on
                log.warning("the engine on %s is lost: %s", self.place, error)
                self._beat_at = 0.0
                return
            if not is_alive:
                self._beat_at = 0.0
                return
            self._beat_at, self._cpu_s = time.monotonic(), cpu_s
            await asyncio.sleep(BEAT_S)

    def alive(self) -> bool:
        return time.monotonic() - self._beat_at < LOST_AFTER_S

    async def responsive(self, timeout_s: float) -> bool:
        try:
            return bool(await self._ask("responsive", timeout_s, within_s=timeout_s + 1))
        except EngineFailed:
            return False

    def cpu_s(self) -> float:
        """As of the last beat."""
        return self._cpu_s

    def naming(self, adapter: str) -> Mapping[str, Any]:
        return naming(self.kind, self._named, adapter)

    def drawing(self, sampling: SamplingSettings) -> Mapping[str, Any]:
        return drawing(self.kind, sampling)

    async def stop(self) -> None:
        """End the engine and give its place back. Safe to call twice."""
        if self._beats is not None:
            self._beats.cancel()
        if self._actor is not None:
            import ray

            with suppress(EngineFailed):
                if self.alive():
                    await self._ask("stop", within_s=STOPPED_WITHIN_S)
            await asyncio.to_thread(ray.kill, self._actor)
        self._actor, self._beats, self._beat_at, self.place = None, None, 0.0, ""


def _ray(cluster: ClusterSettings) -> Any:
    try:
        import ray
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    with _joining:  # replicas are started side by side
        if not ray.is_initialized():
            connect(ray, cluster.address)
    return ray
