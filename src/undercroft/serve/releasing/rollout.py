"""The gateway's side of a trial: who goes where, what is counted, and what follows from it.

Everything that a verdict changes is changed here and in the trial's file first, at once; the ledger
is told afterwards, as soon as it can be reached.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from undercroft.errors import NotFound, UndercroftError
from undercroft.records import Principal
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.pools.route import Arm, Route
from undercroft.serve.releasing import shadow
from undercroft.serve.releasing.seen import Seen, outcome_of
from undercroft.serve.sharing.log import Log
from undercroft.serve.wire.asks import Ask
from undercroft.settings import RolloutSettings
from undercroft.trials import trial as trials
from undercroft.trials.assignment import CANARY, CONTROL, REST, arm_of, point_of
from undercroft.trials.tally import Outcome, Tally, rating_of, request_of
from undercroft.trials.telling import GATEWAY, hear, tell
from undercroft.trials.trial import Status, Trial
from undercroft.trials.verdict import Verdict, judge

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2
HEAR_EVERY_S = 0.3
JUDGE_EVERY_S = 1.0
RECENT_ANSWERS = 10_000
CURVE_POINTS = 400


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes: ``arms`` in the order they are tried, ``part`` of a trial or empty."""

    route: Route
    arms: tuple[Arm, ...]
    part: str = ""
    unit: str = ""

    @property
    def arm(self) -> Arm:
        return self.arms[0]


class Rollout:
    """At most one trial at a time; without one, everybody gets the live route. Where the ledger is
    not in the project's own folder, other gateways may see the same trial: what all of them saw is
    in its ``log``, and what any of them decides is heard from the ledger."""

    def __init__(self, gateway: Gateway) -> None:
        self.trial: Trial | None = None
        self.tally = Tally()
        self.curve: list[dict[str, Any]] = []
        self._settings = RolloutSettings()
        self._gateway = gateway
        self._router = gateway.router
        self._folder = gateway.project.state
        self._log = _log_of(gateway)
        self._answers: OrderedDict[str, Place] = OrderedDict()
        self._stamp = 0
        self._judged_at = 0.0
        self._is_shadowing = False
        self._is_tripped = False  # failures in a row: no more traffic, while that is written down
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take up the trial where it stands."""
        await self._guarded(self._look)
        self._tasks.add(asyncio.create_task(self._watch()))
        if self._log is not None:
            self._tasks.add(asyncio.create_task(self._hear()))
            self._tasks.add(asyncio.create_task(self._read(self._log)))

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.trial is not None and self.trial.is_open:
            await asyncio.to_thread(trials.write_tally, self._folder, self._written())

    # The way of a request

    def place(self, ask: Ask, who: Principal) -> Place:
        """The live route, or the canary for its share; a name of either's own is honoured."""
        live, canary, trial = self._router.route, self._canary, self.trial
        subject = ask.user or who.id
        if canary is None or trial is None or self._is_tripped:
            return self._named(live, ask, subject, who)
        if ask.model not in (live.name, f"route:{live.name}"):
            return self._named(live, ask, subject, who)
        unit = self._unit(ask, subject)
        part = arm_of(point_of(trial.salt, unit), trial.share) if trial.share else REST
        if part != CANARY:
            return Place(live, live.choose(ask.model, subject, who), part, unit)
        arm, before = (
            canary.choose(canary.name, subject, who)[0],
            live.choose(live.name, subject, who),
        )
        if not arm.pool.alive:
            self._count(CANARY, unit, Outcome(is_error=True))
            return Place(live, before, REST, unit)
        return Place(canary, (arm, before[0]), CANARY, unit)

    def _named(self, live: Route, ask: Ask, subject: str, who: Principal) -> Place:
        try:
            return Place(live, live.choose(ask.model, subject, who))
        except NotFound:
            for other in self._router.others.values():
                if ask.model == other.ref or ask.model in other.models_for(who):
                    return Place(other, other.choose(ask.model, subject, who))
            raise

    def _unit(self, ask: Ask, subject: str) -> str:
        if self._settings.unit == "subject":
            return subject
        if self._settings.unit == "request":
            return f"{subject}\n{time.monotonic_ns()}"
        asked = next((turn.content for turn in ask.turns if turn.role == "user"), ask.prompt)
        return f"{subject}\n{asked}"

    @property
    def _canary(self) -> Route | None:
        trial = self.trial
        if trial is None or not trial.is_open:
            return None
        return self._router.others.get(trial.canary)

    @contextmanager
    def observed(self, place: Place, row: RequestRow) -> Iterator[Seen]:
        """Count how the request in the block went."""
        seen = Seen()
        try:
            yield seen
        finally:
            if place.part in (CANARY, CONTROL) and row.status not in ("cancelled", "blocked"):
                self._count(place.part, place.unit, outcome_of(row, seen))
                self._answers[row.id] = place
                if len(self._answers) > RECENT_ANSWERS:
                    self._answers.popitem(last=False)

    def rated(self, answer: str, rating: int) -> None:
        """A user's opinion on an answer of one of the arms."""
        place = self._answers.get(answer)
        if place is not None:
            if self._log is None:
                self.tally.add_rating(place.part, place.unit, rating)
            else:
                self._log.rated(rating_of(place.part, place.unit, rating))

    def shadow(self, ask: Ask, place: Place) -> None:
        """Have the canary answer it too, unseen, if the trial begins so and there is room."""
        canary, trial = self._canary, self.trial
        if canary is None or trial is None or trial.share or place.part != REST:
            return
        if self.tally.shadows < self._settings.shadow_requests and not self._is_shadowing:
            self._is_shadowing = True
            self._spawn(self._shadow(ask, canary))

    async def _shadow(self, ask: Ask, canary: Route) -> None:
        try:
            is_failure = await shadow.fails(self._gateway, ask, canary)
        finally:
            self._is_shadowing = False
        if self._log is None:
            self.tally.add_shadow(is_failure)
        else:
            self.tally.follow(CANARY, is_failure)
            self._log.shadowed()
        if self.tally.streak >= self._settings.failures_in_a_row:
            await self._guarded_judge()

    def _count(self, part: str, unit: str, outcome: Outcome) -> None:
        if self._log is None:
            self.tally.add(part, unit, outcome)
        else:
            self.tally.follow(part, outcome.is_error)
            event = request_of(part, unit, outcome)
            self._log.saw(part, None if self.tally.knows(event) else event)
        if self.tally.streak >= self._settings.failures_in_a_row and not self._is_tripped:
            self._is_tripped = True
            self._spawn(self._guarded_judge())

    # What follows

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._guarded(self._look)
            if time.monotonic() - self._judged_at >= JUDGE_EVERY_S:
                self._judged_at = time.monotonic()
                await self._guarded_judge()

    async def _hear(self) -> None:
        """Follow what other gateways make of the trial; while the ledger does not answer, ours."""
        project = self._gateway.project
        while True:
            await asyncio.sleep(HEAR_EVERY_S)
            with suppress(UndercroftError):
                await asyncio.to_thread(hear, project.ledger, project.name, self._folder)

    async def _read(self, log: Log) -> None:
        """Count what all gateways saw."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            trial = self.trial
            if trial is not None and trial.is_open:
                tally = await log.count(self.tally, time.time() - trial.started_at)
                if self.trial is not None and self.trial.id == trial.id:
                    self.tally = tally

    async def _look(self) -> None:
        """Follow the trial's file: somebody may have started, ended or promoted one."""
        try:
            stamp = (self._folder / trials.FILE).stat().st_mtime_ns
        except FileNotFoundError:
            if self.trial is not None:
                self._router.drop(self.trial.canary)
            self.trial, self._stamp = None, 0
            return
        if stamp == self._stamp:
            return
        found = await asyncio.to_thread(trials.read, self._folder)
        if found is not None:
            await self._follow(found)
        self._stamp = stamp

    async def _follow(self, found: Trial) -> None:
        known, self.trial = self.trial, found
        if known is not None and (known.id, known.version) == (found.id, found.version):
            return
        if known is None or known.id != found.id:
            await self._take_up(found)
        if found.is_open:
            try:
                await self._router.bring(found.canary)
            except UndercroftError as error:
                await self._change("rolled back", f"It could not be opened: {error}")
                return
        elif found.status == "promoted" and (
            found.told < found.version or found.canary in self._router.others
        ):
            self._router.ahead = found.control if found.told < found.version else ""
            await self._router.swap(found.canary)
            self._spawn(self._bake(found.control))
        else:
            self._router.drop(found.canary)
        if found.told < found.version:
            self._spawn(self._tell())

    async def _take_up(self, found: Trial) -> None:
        """Another trial than before, with what was counted of it if it is not new."""
        self._settings = RolloutSettings(**found.settings)
        if self._log is not None:
            self._log.begin(found.id)
        kept = await asyncio.to_thread(trials.read_tally, self._folder)
        self.tally = Tally.of(kept["tally"]) if kept else Tally()
        self.curve = kept["curve"] if kept else []
        self._is_tripped = False
        self._answers.clear()

    async def replaced(self, route: str) -> None:
        """Drop a route that the ledger calls live no more, unless it is the control of a trial that
        was just promoted: whether its file or the ledger is read first is chance."""
        found = await asyncio.to_thread(trials.read, self._folder)
        is_control = found is not None and route == found.control
        if found is not None and is_control and found.status == "promoted":
            self._spawn(self._bake(route))
        else:
            self._router.drop(route)

    async def _bake(self, route: str) -> None:
        """Keep the old route warm for a while, so that going back takes a moment."""
        await asyncio.sleep(self._settings.bake_minutes * 60)
        self._router.drop(route)

    async def _guarded_judge(self) -> None:
        await self._guarded(self._judge)

    async def _judge(self) -> None:
        trial = self.trial
        if trial is None or not trial.is_open or self._canary is None:
            return
        now = time.time()
        if not trial.share and self._settings.shadow_requests > self.tally.shadows:
            verdict = judge(self.tally, self._settings, step=0, step_s=0, total_s=0)
            if verdict.action == "roll back":
                await self._act(verdict)
            return
        if not trial.share:
            await self._change(share=self._settings.steps[0], step=0, step_at=now)
            return
        verdict = judge(
            self.tally, self._settings, step=trial.step,
            step_s=now - trial.step_at, total_s=now - trial.started_at,
        )  # fmt: skip
        if verdict.action != "roll back":  # an answer under way has come well after all
            self._is_tripped = False
        self._note(now, verdict)
        await asyncio.to_thread(trials.write_tally, self._folder, self._written())
        await self._act(verdict)

    async def _act(self, verdict: Verdict) -> None:
        trial = self.trial
        assert trial is not None
        action, reason = verdict.action, verdict.reason
        if action == "roll back":
            await self._change("rolled back", reason)
        elif trial.status == "held" or action == "wait" or trial.kind == "abtest":
            return
        elif action == "advance":
            step = trial.step + 1
            share = self._settings.steps[step]
            await self._change(reason=reason, step=step, share=share, step_at=time.time())
        elif action == "promote" and not self._settings.approval:
            await self._change("promoted", reason)
        else:
            await self._change("held", reason if action == "hold" else f"{reason} To be approved.")

    async def _change(self, status: Status | None = None, reason: str = "", **more: Any) -> None:
        """Write the trial anew, if nobody else has meanwhile, and follow it."""
        known = self.trial
        assert known is not None
        fields = {"status": status or known.status, "reason": reason or known.reason, **more}

        def new(found: Trial) -> Trial:
            if found.version != known.version:
                return found
            return msgspec.structs.replace(found, by=GATEWAY, **fields)

        if status is not None:
            log.warning("the rollout of %s is %s: %s", known.canary, status, reason)
        await self._follow(await asyncio.to_thread(trials.change, self._folder, new))

    async def _tell(self) -> None:
        """Have the ledger know, however long it takes."""
        while True:
            try:
                await asyncio.to_thread(tell, self._gateway.project.ledger, self._folder)
            except Exception:
                log.exception("the ledger could not be told of the rollout; trying again")
                await asyncio.sleep(JUDGE_EVERY_S)
            else:
                self._router.ahead = ""
                return

    def _note(self, now: float, verdict: Verdict) -> None:
        """A point of the curves; half of them go when there are too many."""
        if self.curve and self.curve[-1]["pairs"] == self.tally.pairs:
            return
        standings = [asdict(each) for each in verdict.standings]
        self.curve.append({"at": now, "pairs": self.tally.pairs, "standings": standings})
        if len(self.curve) > CURVE_POINTS:
            self.curve = self.curve[::2]

    def _written(self) -> dict[str, Any]:
        return {"tally": self.tally.state(), "curve": self.curve}

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """A trial that cannot be followed must not stop the gateway: the live route goes on."""
        try:
            await work()
        except Exception:
            log.exception("the rollout could not be followed")

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _log_of(gateway: Gateway) -> Log | None:
    """What is in the project's own folder is of one gateway."""
    project = gateway.project
    return Log(project.ledger.engine, gateway.id) if project.settings.store.ledger else None
