"""Keeps the live route in force: opens it, watches the ledger for another, swaps, drains the old.

Pools of models that both routes name stay as they are, so changing only the index costs no restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from undercroft.errors import BadInput
from undercroft.project import Project
from undercroft.records import Artifact, Principal
from undercroft.serve.pools import renewal
from undercroft.serve.pools import route as routes
from undercroft.serve.pools.pool import Pool
from undercroft.serve.pools.renewal import Report
from undercroft.serve.pools.replicas import Replica
from undercroft.serve.pools.route import Arm, Route
from undercroft.settings import Settings

log = logging.getLogger(__name__)

WATCH_EVERY_S = 1.0
MOST_ERASURES = 100_000
DRAIN_S = 130.0  # longer than serve.timeout_s by default


class Router:
    """``route`` is what is served now and ``erased`` the documents that `undercroft forget` took
    out: they are not shown again, even while their rows are still being removed. ``others`` are
    open beside it: the canary of a trial, and a route just replaced that may be wanted again.
    ``changed`` is called after a swap, ``replaced`` with the route that another took the place of
    in the ledger: it is to be dropped, at once or later; ``forget`` with each document that is
    erased from then on, ``warm`` with each replica before it gets traffic."""

    def __init__(
        self,
        project: Project,
        *,
        warm: Callable[[Replica], Awaitable[None]],
        changed: Callable[[], None],
        replaced: Callable[[str], Awaitable[None]],
        forget: Callable[[str], None],
    ) -> None:
        self.route: Route
        self.others: dict[str, Route] = {}
        self.erased: set[str] = set()
        self.stale = False  # the index could not be read; open it again
        self.ahead = ""  # what the ledger still calls live, though it was replaced
        self._changing = asyncio.Lock()
        self._project = project
        self._settings = project.settings  # of engines: they may change while we run
        self._warm = warm
        self._changed = changed
        self._replaced = replaced
        self._forget = forget
        self._pools: dict[str, Pool] = {}
        self._retired: set[Pool] = set()
        self._complaint = ""
        self._is_renewing = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the live route. Raises `NotFound` when there is none, `EngineFailed`."""
        found = await asyncio.to_thread(routes.live, self._project)
        self.erased = await asyncio.to_thread(self._erased_documents)
        self.route = await self._open(found)
        self._spawn(self._watch())

    async def stop(self, grace_s: float) -> None:
        for task in list(self._tasks):
            task.cancel()
        pools = (*self._pools.values(), *self._retired)
        await asyncio.gather(*(pool.stop(grace_s) for pool in pools))

    @property
    def pools(self) -> list[Pool]:
        return list(self._pools.values())

    def models_for(self, who: Principal) -> list[str]:
        """The names that ``who`` may ask for: the live route's first."""
        routes_ = (self.route, *self.others.values())
        return list(dict.fromkeys(name for route in routes_ for name in route.models_for(who)))

    async def bring(self, ref: str) -> Route:
        """The route ``ref``, open beside the live one from now on. Raises `NotFound`,
        `EngineFailed`."""
        if ref == self.route.ref:
            return self.route
        if ref not in self.others:
            async with self._changing:
                found = await asyncio.to_thread(self._project.ledger.artifact, ref)
                self.others[ref] = await self._open(found)
        return self.others[ref]

    def drop(self, ref: str) -> None:
        """Close a route beside the live one, once its requests are answered."""
        if self.others.pop(ref, None) is not None:
            self._close_unused()

    async def swap(self, ref: str) -> None:
        """Serve ``ref`` from now on, and keep what was served open beside it."""
        fresh, old = await self.bring(ref), self.route
        if fresh is not old:
            self.route = fresh
            self.others = {**self.others, old.ref: old}
            del self.others[ref]
            self._changed()
            log.info("%s replaces %s", fresh.ref, old.ref)

    async def _open(self, found: Artifact) -> Route:
        """``found`` with its pools running and its index open; nothing is changed on failure."""
        plan = routes.plan(found)
        fresh: dict[str, Pool] = {}
        try:
            opening = asyncio.gather(
                asyncio.to_thread(routes.open_index, self._project, found.meta),
                asyncio.to_thread(routes.open_embedding, self._project, found.meta),
                asyncio.to_thread(self._project.template, str(found.meta.get("template") or "")),
            )
            for name, needs in plan.pools.items():
                if name not in self._pools:
                    fresh[name] = await asyncio.to_thread(self._make, *needs)
            await asyncio.gather(opening, *(self._bring_up(pool) for pool in fresh.values()))
        except BaseException:
            await asyncio.gather(*(pool.stop(0.0) for pool in fresh.values()))
            raise
        self._pools |= fresh
        (index, retriever), (embedding, embedder), template = opening.result()
        sampling = routes.sampling_of(self._project, found)
        arms = [
            Arm(each.model, each.weight, self._pools[each.pool], sampling) for each in plan.arms
        ]
        return Route(
            ref=str(found.ref), name=self._project.name,
            arms=tuple(arm for arm in arms if arm.weight),
            fallback=next((arm for arm in arms if not arm.weight), None),
            index=index, embedding=embedding, retriever=retriever, embedder=embedder,
            sampling=sampling, min_score=float(found.meta.get("min_score", 0.0)), template=template,
            created=int(found.created_at.timestamp()), adapters=plan.adapters,
        )  # fmt: skip

    def _make(self, model: str, adapters: Sequence[str]) -> Pool:
        find = self._project.ledger.artifact
        held = [find(each) for each in adapters]
        return routes.make_pool(self._project, self._settings, find(model), held)

    async def _bring_up(self, pool: Pool) -> None:
        await pool.start()
        await asyncio.gather(*(self._warm(seat.replica) for seat in pool.seats if seat.ready))

    def renew_soon(self) -> None:
        """Start every replica again as the project's settings are by now, one after another,
        without a request noticing; how far it is is told in a file (`renewal.Report`)."""
        if not self._is_renewing:
            self._is_renewing = True
            self._spawn(self._renew())

    async def _renew(self) -> None:
        report = Report(self._project.state, sum(len(pool.seats) for pool in self._pools.values()))
        try:
            async with self._changing:
                fresh = await asyncio.to_thread(Project.open, self._project.root)
                for name, pool in list(self._pools.items()):
                    made = await asyncio.to_thread(self._make_again, name, fresh.settings, pool)
                    await renewal.renew(
                        pool, made, self._warm, drain_s=DRAIN_S, told=report.one_more
                    )
                self._settings = fresh.settings
        except Exception as error:  # what runs goes on running
            log.exception("the replicas could not be started again")
            report.end(f"{error}" or type(error).__name__)
        else:
            report.end()
            self._changed()
        finally:
            self._is_renewing = False

    def _make_again(self, name: str, settings: Settings, pool: Pool) -> list[Replica]:
        if len(pool.seats) != settings.serve.replicas:
            raise BadInput(
                f"serve.replicas is {settings.serve.replicas} now and was {len(pool.seats)}.",
                "How many there are is fixed when the gateway starts.",
                "Start the gateway again, or set it back.",
            )
        model, *adapters = map(self._project.ledger.artifact, name.split("+"))
        return routes.make_replicas(self._project, settings, model, adapters)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                await self._look()
                self._complaint = ""
            except Exception as error:  # whatever it is, the old route goes on
                if str(error) != self._complaint:
                    log.exception("the route could not be looked up or opened; the old one stays")
                self._complaint = str(error)

    async def _look(self) -> None:
        found = await asyncio.to_thread(routes.live, self._project)
        for document in await asyncio.to_thread(self._erased_documents) - self.erased:
            self.erased.add(document)
            self._forget(document)
        if str(found.ref) not in (self.route.ref, self.ahead):
            old = self.route.ref
            await self.swap(str(found.ref))
            await self._replaced(old)
        if self.stale:
            async with self._changing:
                self.route, self.stale = await self._open(found), False
            self._changed()

    def _close_unused(self) -> None:
        """Stop the pools that no open route names, once their requests are answered."""
        opened = (self.route, *self.others.values())
        used = {pool for route in opened for pool in route.pools}
        for name, pool in list(self._pools.items()):
            if pool not in used:
                del self._pools[name]
                self._spawn(self._drain(pool))

    async def _drain(self, pool: Pool) -> None:
        self._retired.add(pool)
        await pool.stop(DRAIN_S)
        self._retired.discard(pool)

    def _erased_documents(self) -> set[str]:
        """All documents ever erased: ledger decisions of the kind ``forget`` name them."""
        found = self._project.ledger.decisions(kind="forget", limit=MOST_ERASURES)
        return {decision.subject.removeprefix("document:") for decision in found}

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
