"""`Gateway`: the parts that a request meets on its way, opened together for one project."""

from __future__ import annotations

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from undercroft.errors import Denied, UndercroftError
from undercroft.project import Project
from undercroft.records import Principal
from undercroft.serve.admission.budgets import Budgets
from undercroft.serve.caches.cache import Cache
from undercroft.serve.journal.recorder import Recorder
from undercroft.serve.journal.rows import FeedbackRow, RequestRow
from undercroft.serve.journal.shelf import Shelf
from undercroft.serve.metrics import Metrics
from undercroft.serve.pools import upstream
from undercroft.serve.pools.route import Route
from undercroft.serve.pools.router import Router
from undercroft.serve.releasing.rollout import Rollout
from undercroft.serve.warming import load_screens, warm
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.failures import HttpError
from undercroft.settings import Settings
from undercroft.trust import allowed

if TYPE_CHECKING:
    from undercroft.serve.endpoints.responses import Unattended

SEARCH_THREADS = 4
KEY_BELIEVED_S = 1.0  # a revoked key is refused after this and the key table's own second
MAX_REMEMBERED = 10_000
ANYBODY = Principal("local", "local", "user")


class Gateway:
    """Open it with `start` in a running event loop; `answer.answer` says what the parts are for."""

    client: aiohttp.ClientSession

    def __init__(self, project: Project) -> None:
        self.project = project
        self.settings: Settings = project.settings
        serve = project.settings.serve
        self.vault = project.trust.vault
        self.budgets = Budgets(serve.daily_tokens)
        self.cache = Cache(serve.cache_entries)
        self.recorder = Recorder(project.lake, project.state / "spool")
        self.metrics = Metrics()
        self.router = Router(
            project,
            warm=partial(warm, self),
            changed=self.cache.clear,
            forget=self.cache.forget,
        )
        self.rollout = Rollout(self)
        self.shelf = Shelf(project.state / "responses", self.vault, serve.responses_days)
        self.unattended: dict[str, Unattended] = {}  # responses being written, by id
        self.search_threads = ThreadPoolExecutor(SEARCH_THREADS, thread_name_prefix="search")
        self.started_at = time.time()
        self._sealed_for: set[str] = set()
        self._known: dict[bytes, tuple[Principal, float]] = {}

    @property
    def route(self) -> Route:
        return self.router.route

    @property
    def max_body_bytes(self) -> int:
        return int(self.settings.serve.max_body_mb * 1e6)

    async def start(self) -> None:
        """Open the route, start its engines, count today's spending. Raises `NotFound` when
        nothing is released and `EngineFailed` when no engine starts."""
        self.client = upstream.session()
        try:
            spent, *_ = await asyncio.gather(
                asyncio.to_thread(self.recorder.spent_today),
                self.router.start(),
                asyncio.to_thread(load_screens, self.settings.serve.screen_output),
                asyncio.to_thread(self.shelf.prune),
            )
            self.budgets.restore(spent)
        except BaseException:
            await self.stop(0.0)
            raise
        self.recorder.start()
        await self.rollout.start()

    async def stop(self, grace_s: float) -> None:
        """Let answers finish for ``grace_s``, stop the engines, move every record to the lake."""
        await asyncio.gather(*(each.cancel() for each in self.unattended.values()))
        await self.rollout.stop()
        await self.router.stop(grace_s)
        await self.recorder.stop()
        await self.client.close()
        self.search_threads.shutdown(wait=False, cancel_futures=True)

    async def identify(self, exchange: Exchange, action: str) -> Principal:
        """Who asks, if they may do ``action``. Raises `Denied` (401) or `HttpError` 403."""
        secret = exchange.header(b"authorization").removeprefix("Bearer ").strip()
        if not secret and not self.settings.serve.require_key:
            return ANYBODY
        if not secret:
            raise Denied("No API key was given.", do="Send it as: Authorization: Bearer uc-…")
        who = await self._who(secret)
        if not allowed(who, action):
            raise HttpError(
                403, "permission_denied", f"The key {who.name!r} may not {action}.",
                f"Its role is {who.role}.", "Ask an admin for a key with another role.",
            )  # fmt: skip
        return who

    async def _who(self, secret: str) -> Principal:
        digest = hashlib.sha256(secret.encode()).digest()
        known = self._known.get(digest)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        who = await asyncio.to_thread(self.project.trust.keys.identify, secret)
        if who is None:
            self._known.pop(digest, None)
            raise Denied(
                "The API key is not valid.",
                "It is unknown or was revoked.",
                "Make one with: undercroft key create NAME --role user",
            )
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[digest] = (who, time.monotonic() + KEY_BELIEVED_S)
        return who

    def seal(self, row: RequestRow | FeedbackRow, what: str, data: bytes) -> bytes:
        """``data`` encrypted for the row's subject, bound to the row and to ``what`` it is."""
        return self.vault.seal(row.subject, data, f"{what}:{row.id}".encode())

    async def ready_to_seal(self, subject: str) -> None:
        """Have a new subject's key made now, in a thread: it is written to the database, which
        may be busy, and sealing later must not wait."""
        if subject not in self._sealed_for:
            await asyncio.to_thread(self.vault.seal, subject, b"", b"")
            if len(self._sealed_for) >= MAX_REMEMBERED:
                self._sealed_for.clear()
            self._sealed_for.add(subject)

    def record(self, row: RequestRow) -> None:
        """Count and keep ``row``; with a full disk the answer says that it is not kept yet."""
        self.metrics.count(row)
        if not self.recorder.append(row):
            row.degrade("record")

    def refused(self, error: UndercroftError) -> None:
        self.metrics.refusals.labels(str(error.http_status), error.code).inc()
