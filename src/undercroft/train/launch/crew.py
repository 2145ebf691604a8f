"""Starts ranks, hears them, finds those that died or hang, and starts them again.

Any rank's end ends all, since they train in step; they go on from the last checkpoint. Which rank
it was, how that was seen and how far the run had come is an event each. Two attempts in a row that
come to no new checkpoint make the next one smaller, and ``cluster.rank_restarts`` of them the last.
"""

from __future__ import annotations

import pickle
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from undercroft.errors import StageFailed, UndercroftError
from undercroft.settings import ClusterSettings
from undercroft.stage import StageRun
from undercroft.train.launch.host import Host, HostLost, Hosts
from undercroft.train.launch.job import Job
from undercroft.train.launch.rank import TOLD, Seat
from undercroft.train.launch.signs import Told, pulse
from undercroft.train.launch.vigil import Vigil
from undercroft.train.parallel.plan import Plan

if TYPE_CHECKING:
    from undercroft.train.loop import Report

POLL_S = 0.1
_KEEP_S = 0.5
_SHRINK_AFTER = 2  # attempts that came to no new checkpoint
_SETTLE_S = 1.0  # ranks that lose one of them notice in this time, and say so


@dataclass(frozen=True, slots=True)
class Loss:
    """What ended an attempt: the ranks that were at fault, and how that was seen."""

    ranks: tuple[int, ...]
    why: str
    error: BaseException | None = None


@dataclass
class Attempt:
    """Ranks that train together: where each runs, and how far they have come.

    ``ended`` are exit codes by rank; ``gone`` are the ranks of a machine that was lost.
    """

    folder: Path
    hosts: list[tuple[Host, list[Seat]]]
    size: int
    pids: dict[int, int] = field(default_factory=dict[int, int])
    step: int = 0
    ended: dict[int, int] = field(default_factory=dict[int, int])
    gone: tuple[int, ...] = ()

    def start(self, job: bytes) -> None:
        for host, seats in self.hosts:
            self.pids.update(host.start(job, seats))

    def look(self) -> None:
        """Ask which ranks ended."""
        for host, seats in self.hosts:
            try:
                self.ended.update(host.ended())
            except HostLost:
                self.gone = tuple(seat.rank for seat in seats)
                raise

    def speak(self) -> None:
        """Have every rank that still can write down where it is."""
        for host, _ in self.hosts:
            with suppress(HostLost):
                host.speak()
        time.sleep(POLL_S)

    def kill(self) -> None:
        for host, _ in self.hosts:
            with suppress(HostLost):
                host.kill()


class Crew:
    """The ranks of ``job`` on ``hosts``, and whoever watches over them.

    Of what happens ``run`` is told, and ``report`` is told of each step that the first rank takes,
    as if the stage took it.
    """

    def __init__(self, run: StageRun, job: Job, hosts: Hosts, cluster: ClusterSettings) -> None:
        self._run = run
        self._job = job
        self._hosts = hosts
        self._cluster = cluster
        self._folder = job.folder / "ranks"
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob("attempt-*"):
            shutil.rmtree(old, ignore_errors=True)
        self._log = run.project.state / "logs" / "ranks.log"
        self._log.parent.mkdir(exist_ok=True)
        self._told = Told(self._folder / "told.jsonl")
        self._plan = Plan.of(job.params.parallel, job.section)
        self._keep: Callable[[], None] = lambda: None
        self._kept = 0.0
        self._futile = 0
        self._reached = self._newest()

    def train(self, report: Report, keep: Callable[[], None] = lambda: None) -> None:
        """Return when the ranks have come to the end of the schedule and left a checkpoint of it.

        ``keep`` has what was reported kept for good; what was not, a watcher that comes after this
        one is told again. Raises what a rank raised that starting again does not mend, and
        `StageFailed` when starting again did not mend the rest.
        """
        self._keep = keep
        packed = pickle.dumps(self._job)
        most = self._plan.size
        while True:
            attempt = self._seated(most)
            try:
                loss = self._watched(attempt, packed, report)
            finally:
                attempt.kill()
            self._relay(attempt, report, at_last=True)
            if loss is None:
                shutil.rmtree(attempt.folder, ignore_errors=True)
                return
            most = self._after(attempt, loss)

    def _seated(self, most: int) -> Attempt:
        """An attempt by as many ranks as can be had and the plan allows for, ``most`` at most."""
        each = self._plan.size // self._plan.replicate
        found = self._hosts.seats(most)
        size = min(most, sum(count for _, count in found))
        size -= size % each
        if size < each:
            raise StageFailed(
                f"Only {size} of {each} processes can be had that one copy of the model takes.",
                f"It is spread as [{self._job.section}.parallel] says.",
                "Bring machines back and run the same command again; it goes on where it stopped.",
            )
        folder = Path(tempfile.mkdtemp(prefix="attempt-", dir=self._folder))
        attempt = Attempt(folder, [], size)
        meet = found[0][0].address if len(found) > 1 else ""
        first = 0
        for host, count in found:
            ranks = range(first, min(first + count, size))
            threads = max(1, host.cores // max(1, len(ranks)))
            common = (size, folder, self._told.path, self._log, threads, meet, host.address)
            seats = [Seat(rank, *common, local, len(ranks)) for local, rank in enumerate(ranks)]
            attempt.hosts += [(host, seats)] if seats else []
            first += len(ranks)
        return attempt

    def _watched(self, attempt: Attempt, job: bytes, report: Report) -> Loss | None:
        """Start the ranks of ``attempt`` and watch over them; what ended it, if it was no end."""
        try:
            attempt.start(job)
            pids = [attempt.pids[rank] for rank in range(attempt.size)]
            hosts = {host.name: len(seats) for host, seats in attempt.hosts}
            self._run.event("ranks_started", processes=attempt.size, pids=pids, hosts=hosts)
            vigil = Vigil(attempt.size, self._cluster.rank_timeout_s, time.monotonic())
            while True:
                time.sleep(POLL_S)
                self._run.check()
                self._relay(attempt, report)
                attempt.look()
                if len(attempt.ended) == attempt.size and not any(attempt.ended.values()):
                    return None
                if any(attempt.ended.values()):
                    return self._loss(attempt)
                pulses = [pulse(attempt.folder / f"pulse-{n}") for n in range(attempt.size)]
                hung = vigil.look(pulses, time.monotonic(), is_saving=self._is_saving)
                if hung is not None:
                    attempt.speak()
                    return Loss(hung.ranks, hung.why)
        except HostLost as lost:
            return Loss(attempt.gone, str(lost))

    @property
    def _is_saving(self) -> bool:
        return any((self._job.folder / "checkpoints").glob("making-*"))

    def _newest(self) -> int:
        """The step of the newest checkpoint; 0 when there is none."""
        found = (self._job.folder / "checkpoints").glob("checkpoint-*")
        steps = [path.name.removeprefix("checkpoint-") for path in found]
        return max((int(step) for step in steps if step.isdecimal()), default=0)

    def _relay(self, attempt: Attempt, report: Report, *, at_last: bool = False) -> None:
        """Hand on what the first rank told, and now and then, or ``at_last``, have it kept."""
        from undercroft.train.points import Point
        from undercroft.train.schedule import Schedule

        for line in self._told:
            if "point" in line:
                point = Point(**line["point"])
                attempt.step = point.step
                report(point, Schedule(**line["schedule"]))
            elif "event" in line:
                self._run.event(line["event"], **line["detail"])
            elif "progress" in line:
                self._run.progress(*line["progress"])
        if at_last or time.monotonic() - self._kept >= _KEEP_S:
            self._keep()
            self._told.done()
            self._kept = time.monotonic()

    def _loss(self, attempt: Attempt) -> Loss:
        """Whose end came first, once the others had time to say that they only lost it."""
        deadline = time.monotonic() + _SETTLE_S
        while len(attempt.ended) < attempt.size and time.monotonic() < deadline:
            time.sleep(POLL_S / 2)
            attempt.look()
        words = {rank: _word(attempt, rank) for rank, code in attempt.ended.items() if code == TOLD}
        for rank, word in words.items():
            if isinstance(word, UndercroftError):
                return Loss((rank,), str(word), word)
        silent = [rank for rank, code in attempt.ended.items() if code not in (0, TOLD)]
        if silent:
            return Loss(tuple(silent), _how(attempt.ended[silent[0]]))
        ours = [rank for rank, word in words.items() if not _is_of_peers(word)] or list(words)
        word = words[ours[0]]
        return Loss(tuple(ours), f"{type(word).__name__}: {word}", word)

    def _after(self, attempt: Attempt, loss: Loss) -> int:
        """Record ``loss``; how many ranks to try next. Raises what trying again does not mend."""
        self._run.event(
            "rank_lost",
            ranks=list(loss.ranks),
            why=loss.why[:500],
            step=attempt.step,
            processes=attempt.size,
        )
        if isinstance(loss.error, UndercroftError):
            raise loss.error
        reached = self._newest()
        self._futile = 0 if reached > self._reached else self._futile + 1
        self._reached = max(self._reached, reached)
        if self._futile > self._cluster.rank_restarts:
            raise StageFailed(
                f"Training was started {self._futile} times and came no further.",
                f"{_named(loss.ranks)}: {loss.why}".rstrip(".") + ".",
                f"See {self._log}.",
            ) from loss.error
        is_futile = self._futile and self._futile % _SHRINK_AFTER == 0
        each = self._plan.size // self._plan.replicate
        return max(each, attempt.size - each) if is_futile else self._plan.size


def _word(attempt: Attempt, rank: int) -> BaseException:
    try:
        found: BaseException = pickle.loads((attempt.folder / f"word-{rank}").read_bytes())  # noqa: S301
    except Exception as error:
        return RuntimeError(f"it failed and left no word that can be read ({error})")
    return found


def _is_of_peers(word: BaseException) -> bool:
    """Whether a rank only lost the others."""
    said = str(word).lower()
    marks = ("gloo", "connection", "peer", "store", "rank ")
    return isinstance(word, RuntimeError) and any(mark in said for mark in marks)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"killed by {signal.Signals(-code).name}"


def _named(ranks: Sequence[int]) -> str:
    return f"Rank {', '.join(map(str, ranks))}" if ranks else "A machine"
