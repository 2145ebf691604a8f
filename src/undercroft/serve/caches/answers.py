"""What was answered before: by the very same question, or by one that asks the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from undercroft.serve.caches.alike import Alike
from undercroft.serve.caches.cache import Cache, Flight, key_of
from undercroft.serve.wire.asks import Ask

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.retrieve.embed import Embedder
    from undercroft.serve.caches.shared import Shared


class Answers:
    """All caches of one gateway. ``erased`` says of a document that it may not be shown any more.

    Raises `MissingExtra` when a shared store is set whose client is not installed.
    """

    def __init__(self, project: Project, erased: Callable[[str], bool]) -> None:
        serve = project.settings.serve
        self._keeps = serve.cache_entries > 0
        self._shared = _shared(project, erased) if self._keeps else None
        self._cache = Cache(serve.cache_entries, self._shared)
        self._alike = Alike(serve.semantic_cache, serve.cache_entries, self._cache)
        self.forget = self._cache.forget

    @property
    def health(self) -> dict[str, object]:
        """For ``/health``: what is kept here, and whether the shared store answers."""
        store = "none" if self._shared is None else "down" if self._shared.down else "ok"
        return {"entries": len(self._cache), "shared": store, "semantic": self._alike.mode}

    async def start(self) -> None:
        if self._shared is not None:
            await self._shared.start()

    async def stop(self) -> None:
        if self._shared is not None:
            await self._shared.stop()

    def clear(self) -> None:
        self._cache.clear()
        self._alike.clear()

    @asynccontextmanager
    async def flight(
        self, ask: Ask, origin: str, embedder: Embedder | None, versions: tuple[str, ...]
    ) -> AsyncIterator[Flight]:
        """The known answer to ``ask`` under ``versions``, or the lead of a flight to it.

        ``origin`` is the id of the request; ``embedder`` that of its route's index.
        """
        key = key_of(ask, *versions) if self._keeps else None
        asked = found = None
        if self._alike.mode != "off" and key is not None and self._cache.peek(key) is None:
            asked = self._alike.asked(ask, embedder, *versions)
            found = self._alike.find(asked)
            if found is not None and self._alike.mode == "on":
                yield Flight(found.answer, found.origin)
                return
        async with self._cache.flight(key) as flight:
            if found is not None and flight.answer is None:
                flight.alike = found.origin
            yield flight
        if flight.landed is not None:
            self._alike.keep(asked, key, origin)


def _shared(project: Project, erased: Callable[[str], bool]) -> Shared | None:
    settings = project.settings
    if not settings.store.cache:
        return None
    from undercroft.serve.caches.shared import Shared

    return Shared(
        settings.store.cache,
        settings.project.name,
        project.trust.vault,
        entries=settings.serve.shared_cache_entries,
        ttl_s=settings.serve.shared_cache_s,
        erased=erased,
    )
