"""Goodput: the share of time that goes into steps that count, while ranks are lost every minute.

python -m benchmarks.goodput [--seconds 240] [--every 60] [--rounds 2] [--kinds kill,stop]

Four processes pretrain a small Llama. Every minute one of them, drawn by chance, is killed
(SIGKILL) or stopped (SIGSTOP). Ours finds and replaces it; the peer is ``torchrun --max-restarts``
around the same loop and the same checkpoints, whose group gives up a rank after the same timeout.
Goodput is the seconds of steps that were not lost again, over all seconds since the first step. A
loss that falls when no rank is there, because all are starting, is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.compare import Result, environment, in_turn, table
from benchmarks.goodput_ranks import PARAMS, PROCESSES, job, point_line
from benchmarks.resume import prepare
from undercroft.errors import Cancelled
from undercroft.project import Project
from undercroft.settings import ClusterSettings
from undercroft.stage import StageRun

POLL_S = 0.05
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(frozen=True)
class Blow:
    """A rank is lost so many seconds after the start."""

    at_s: float
    rank: int
    kind: str


@dataclass
class Outcome:
    """What one side came to: when each blow fell, and when which step was taken."""

    blows: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    steps: list[tuple[float, int, str, float]] = field(default_factory=list[Any])
    seconds: float = 0.0
    before_s: float = 0.0

    def goodput(self) -> float:
        return (self.steps[-1][3] - self.before_s) / self.seconds

    def recoveries(self, kind: str) -> list[float]:
        """Seconds from a blow until as many steps were taken as before it."""
        found = []
        for at, what in self.blows:
            before = max((step for when, step, _, _ in self.steps if when <= at), default=0)
            again = next((w for w, s, _, _ in self.steps if w > at + 0.5 and s >= before), None)
            if what == kind and again is not None:
                found.append(again - at)
        return found


class Striker:
    """Lets blows fall when it is time; ``pids`` says who is which rank now."""

    def __init__(
        self, blows: Sequence[Blow], most_s: float, pids: Callable[[], Sequence[int]]
    ) -> None:
        self._left = list(blows)
        self._most_s = most_s
        self._pids = pids
        self._began = time.monotonic()
        self.outcome = Outcome()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def took(self, step: int, loss: str, useful_s: float) -> None:
        """The first rank took a step; the clock begins with the first one."""
        if not self.outcome.steps:
            self._began = time.monotonic()
            self.outcome.before_s = useful_s
        self.outcome.steps.append((self.seconds, step, loss, useful_s))

    def look(self) -> None:
        """Let a blow fall if it is time."""
        if not self.outcome.steps or not self._left or self.seconds < self._left[0].at_s:
            return
        blow = self._left.pop(0)
        pids = self._pids()
        with suppress(ProcessLookupError, IndexError):  # nobody is there to be hit
            os.kill(pids[blow.rank], SIGNALS[blow.kind])
            self.outcome.blows.append((self.seconds, blow.kind))

    @property
    def is_over(self) -> bool:
        return bool(self.outcome.steps) and self.seconds >= self._most_s


def ours(folder: Path, blows: Sequence[Blow], options: argparse.Namespace) -> Outcome:
    """Our ranks, and who watches over them."""
    from undercroft.train.launch.crew import Crew
    from undercroft.train.launch.host import Here

    own = Path(tempfile.mkdtemp(prefix="ours-", dir=folder))
    project = Project.open(own)
    run_id = project.ledger.begin_run("pretrain", "goodput", {}, []).id
    striker = Striker(blows, options.seconds, lambda: _pids_told(project, run_id))

    class Watched(StageRun):
        """A run that is looked at every time that it is asked whether to stop."""

        def check(self) -> None:
            striker.look()
            if striker.is_over:
                raise Cancelled("The time is over.")

    def report(point: Any, schedule: Any) -> None:
        striker.took(*json.loads(point_line(point, schedule)))

    hosts = Here(own / "ranks.log")
    cluster = ClusterSettings(rank_timeout_s=options.timeout)
    try:
        Crew(Watched(project, run_id, own), job(folder, own), hosts, cluster).train(report)
    except Cancelled:
        striker.outcome.seconds = striker.seconds
    finally:
        hosts.close()
    return striker.outcome


def _pids_told(project: Project, run_id: str) -> Sequence[int]:
    """Who is which rank: of the last attempt, unless it was lost."""
    events = project.ledger.events(run_id)
    kinds = [kind for _, kind, _ in events]
    if not kinds or kinds[-1] == "rank_lost":
        return ()
    started = [detail for _, kind, detail in events if kind == "ranks_started"]
    return started[-1]["pids"] if started else ()


def torchrun(folder: Path, blows: Sequence[Blow], options: argparse.Namespace) -> Outcome:
    """The same loop and checkpoints, started and restarted by torchrun."""
    own = Path(tempfile.mkdtemp(prefix="torchrun-", dir=folder))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
        str(PROCESSES), "--max-restarts", "1000",
        "-m", "benchmarks.goodput_ranks", str(own), str(options.timeout),
    ]  # fmt: skip
    environ = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    striker = Striker(blows, options.seconds, lambda: _pids_written(own))
    with (own / "log").open("wb") as log:
        agent = subprocess.Popen(
            command, stdout=log, stderr=log, env=environ, start_new_session=True
        )
        points = own / "points"
        read = 0
        while not striker.is_over and agent.poll() is None:
            time.sleep(POLL_S)
            striker.look()
            if not points.exists():
                continue
            with points.open("rb") as file:
                file.seek(read)
                for line in file:
                    read += len(line)
                    striker.took(*json.loads(line))
        striker.outcome.seconds = striker.seconds
        _end(agent)
    return striker.outcome


def _pids_written(own: Path) -> Sequence[int]:
    found = [own / f"pid-{rank}" for rank in range(PROCESSES)]
    return [int(path.read_text() or 0) for path in found if path.exists()]


def _end(agent: subprocess.Popen[bytes]) -> None:
    """Kill torchrun and its ranks, even those that are stopped."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        own = psutil.Process(agent.pid)
        own.suspend()  # or it would start ranks again
        for each in own.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                each.kill()
    agent.kill()
    agent.wait()


def drawn(options: argparse.Namespace, round_number: int) -> list[Blow]:
    """The same blows for both sides."""
    draw = random.Random(f"{options.seed}:{round_number}")
    kinds = options.kinds.split(",")
    times = range(1, int(options.seconds / options.every) + 1)
    blows = [
        Blow(options.every * (n - 0.5 + draw.random() / 4), draw.randrange(PROCESSES),
             kinds[n % len(kinds)])
        for n in times
    ]  # fmt: skip
    return [each for each in blows if each.at_s < options.seconds - options.every / 4]


def main() -> None:
    parser = argparse.ArgumentParser(description="Goodput while ranks are lost every minute.")
    parser.add_argument("--seconds", type=float, default=240.0, help="of each run")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between losses")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=30.0, help="of a rank that hangs")
    parser.add_argument("--kinds", default="kill,stop")
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    os.environ.update(environment())  # all sides keep bytecode
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, PARAMS)
        count = {"ours": 0, "torchrun": 0}

        def side(which: str, run: Callable[..., Outcome]) -> Outcome:
            blows = drawn(options, count[which])
            count[which] += 1
            found = run(folder, blows, options)
            print(f"{which}: goodput {found.goodput():.3f}", file=sys.stderr, flush=True)
            return found

        found = in_turn(
            options.rounds,
            {"ours": lambda: side("ours", ours), "torchrun": lambda: side("torchrun", torchrun)},
            warm_up=0,
        )
    report(found)


def report(found: dict[str, list[Outcome]]) -> None:
    """Print a table and the last line."""
    rows = []
    for name, runs in found.items():
        kills, stops = ([s for run in runs for s in run.recoveries(kind)] for kind in SIGNALS)
        rows.append(
            [
                name,
                statistics.median(run.goodput() for run in runs),
                statistics.median(run.steps[-1][1] if run.steps else 0 for run in runs),
                sum(len(run.blows) for run in runs),
                statistics.median(kills) if kills else "none",
                statistics.median(stops) if stops else "none",
            ]
        )
    heads = ["", "goodput", "steps", "losses", "s lost to a kill", "s lost to a stop"]
    print(table(heads, rows))
    losses: dict[int, set[str]] = {}
    for runs in found.values():
        for run in runs:
            for _, step, loss, _ in run.steps:
                losses.setdefault(step, set()).add(loss)
    quality = {
        "equal": all(len(each) == 1 for each in losses.values()),
        "goodputs": {n: [round(run.goodput(), 4) for run in runs] for n, runs in found.items()},
        "steps": {n: [run.steps[-1][1] for run in runs if run.steps] for n, runs in found.items()},
    }
    mine, peer = rows[0][1], rows[1][1]
    Result("goodput", mine, peer, mine / max(peer, 1e-9), "useful share", quality).print()


if __name__ == "__main__":
    main()
