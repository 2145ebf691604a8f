"""`Gateway`: the parts that a request meets on its way, opened together for one project."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp

from undercroft.errors import Overloaded, UndercroftError
from undercroft.project import Project
from undercroft.records import Principal
from undercroft.serve.admission.budgets import Budgets
from undercroft.serve.admission.purse import Purse
from undercroft.serve.caches.answers import Answers
from undercroft.serve.caches.shared import connect
from undercroft.serve.caches.stale import Stale
from undercroft.serve.guards.door import LEDGER_WITHIN_S, Door
from undercroft.serve.journal.recorder import Recorder
from undercroft.serve.journal.rows import FeedbackRow, RequestRow
from undercroft.serve.journal.shelf import Shelf
from undercroft.serve.metrics import Metrics
from undercroft.serve.pools import upstream
from undercroft.serve.pools.route import ANYBODY, Route
from undercroft.serve.pools.router import Router
from undercroft.serve.prompting.pictures import Pictures
from undercroft.serve.releasing.rollout import Rollout
from undercroft.serve.sharing.books import book_of
from undercroft.serve.sharing.leases import Leases
from undercroft.serve.warming import load_screens, warm
from undercroft.serve.wire.exchange import Exchange
from undercroft.settings import Settings
from undercroft.trust.vault import RECHECK_S

if TYPE_CHECKING:
    from undercroft.serve.endpoints.unattended import Unattended

log = logging.getLogger(__name__)

T = TypeVar("T")

SEARCH_THREADS = 4
LEDGER_THREADS = 2  # who asks it for a key must not wait for what clients have computed


class Gateway:
    """Open it with `start` in a running event loop; `answer.answer` says what the parts are for."""

    client: aiohttp.ClientSession
    fresh_client: aiohttp.ClientSession  # for what is tried again

    def __init__(self, project: Project) -> None:
        self.project = project
        self.settings: Settings = project.settings
        serve = project.settings.serve
        self.vault = project.trust.vault
        self.ledger_threads = ThreadPoolExecutor(LEDGER_THREADS, thread_name_prefix="ledger")
        anybody = None if serve.require_key else ANYBODY
        self.door = Door(project.trust.keys, anybody, self.ledger_threads)
        self.id = secrets.token_hex(8)
        book = book_of(project, self.id, connect)
        shared, tenants = book is not None, project.settings.admission.tenant_tokens
        self.budgets = Budgets(serve.daily_tokens, tenants, shared=shared)
        self.purse = Purse(serve.daily_cost, shared=shared)
        self.leases = Leases(book, self.budgets, self.purse)
        self.cache = Answers(project, lambda document: document in self.router.erased)
        self.stale = Stale(serve.cache_entries)
        self.pictures = Pictures(serve.image_hosts)
        self.recorder = Recorder(project.lake, project.state / "spool")
        self.metrics = Metrics()
        self.router = Router(
            project,
            warm=partial(warm, self),
            changed=self.cache.clear,
            replaced=lambda route: self.rollout.replaced(route),  # noqa: PLW0108 - made below
            forget=self.cache.forget,
        )
        self.rollout = Rollout(self)
        self.shelf = Shelf(project.state / "responses", self.vault, serve.responses_days)
        self.unattended: dict[str, Unattended] = {}  # responses being written, by id
        self.search_threads = ThreadPoolExecutor(SEARCH_THREADS, thread_name_prefix="search")
        self.started_at = time.time()
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def route(self) -> Route:
        return self.router.route

    @property
    def max_body_bytes(self) -> int:
        return int(self.settings.serve.max_body_mb * 1e6)

    async def start(self) -> None:
        """Open the route, start its engines, count today's spending. Raises `NotFound` when
        nothing is released and `EngineFailed` when no engine starts."""
        self.client, self.fresh_client = upstream.session(), upstream.session(keeps=False)
        try:
            spent, tenants, *_ = await asyncio.gather(
                asyncio.to_thread(self.recorder.spent_today),
                asyncio.to_thread(self.project.trust.keys.tenants),
                self.router.start(),
                asyncio.to_thread(load_screens, self.settings.serve.screen_output),
                asyncio.to_thread(self.shelf.prune),
                self.cache.start(),
            )
            self.budgets.restore(spent, tenants)
            self.purse.restore(await asyncio.to_thread(self.recorder.cost_today))
        except BaseException:
            await self.stop(0.0)
            raise
        self.recorder.start()
        self._refreshing = asyncio.create_task(self._refresh())
        self.door.open()
        self.leases.start()
        await self.rollout.start()

    async def stop(self, grace_s: float) -> None:
        """Let answers finish for ``grace_s``, stop the engines, move every record to the lake."""
        await asyncio.gather(*(each.cancel() for each in self.unattended.values()))
        self.door.close()
        if self._refreshing is not None:
            self._refreshing.cancel()
        await self.rollout.stop()
        await self.router.stop(grace_s)
        await self.leases.stop()
        await self.recorder.stop()
        await self.cache.stop()
        await self.pictures.close()
        await self.client.close()
        await self.fresh_client.close()
        for threads in (self.search_threads, self.ledger_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    async def identify(self, exchange: Exchange, action: str) -> Principal:
        """Who asks, if they may do ``action``. Raises `Denied` (401) or `HttpError` 403."""
        return await self.door.identify(exchange, action)

    def seal(self, row: RequestRow | FeedbackRow, what: str, data: bytes) -> bytes:
        """``data`` encrypted for the row's subject, bound to the row and to ``what`` it is."""
        return self.vault.seal(row.subject, data, f"{what}:{row.id}".encode())

    async def ready_to_seal(self, subject: str) -> None:
        """Have a new subject's key made now, in a thread: it is written to the database, which
        may be busy, and sealing later must not wait. Raises `Overloaded` when it is no use."""
        if not self.vault.is_ready_to_seal(subject):
            try:
                async with asyncio.timeout(LEDGER_WITHIN_S):
                    await self._asked(self.vault.seal, subject, b"", b"")
            except (UndercroftError, TimeoutError) as error:  # of the ledger: not for clients
                raise Overloaded(
                    "Nothing can be kept for somebody new at the moment.",
                    "The ledger does not answer, or its disk is full.",
                    "Try again shortly.",
                ) from error

    async def _asked(self, question: Callable[..., T], *values: Any) -> T:
        """The ledger's answer, from a thread that nothing else waits in."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.ledger_threads, question, *values)

    async def _refresh(self) -> None:
        """Learn whom another machine has forgotten, before what is written for them is sealed."""
        while True:
            try:
                await self._asked(self.vault.refresh)
            except Exception as error:  # it is asked again; keys at hand go on sealing
                log.debug("the ledger does not say who was forgotten: %s", error)
            await asyncio.sleep(RECHECK_S / 2)

    def record(self, row: RequestRow) -> None:
        """Count and keep ``row``; with a full disk the answer says that it is not kept yet."""
        self.metrics.count(row)
        if not self.recorder.append(row):
            row.degrade("record")

    def refused(self, error: UndercroftError) -> None:
        self.metrics.refusals.labels(str(error.http_status), error.code).inc()
