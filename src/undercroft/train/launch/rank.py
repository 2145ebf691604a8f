"""What each rank does: build, join the others, train, leave its last checkpoint, and end."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from undercroft.train.launch.job import Job, make_whole
from undercroft.train.launch.signs import Heart, Teller
from undercroft.train.recording import gauged

if TYPE_CHECKING:
    from undercroft.train.points import Point
    from undercroft.train.schedule import Schedule

TOLD = 3
"""The exit code of a rank that left word of what went wrong."""
_ADDRESS, _GROUP = "address", "group"
_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class Seat:
    """One rank's place in one attempt.

    ``attempt`` is the attempt's folder, and ``told`` the file of what first ranks tell. Ranks of
    one machine meet by a file; those of several ``meet`` at the address of the first one's.
    This one's own machine has ``address``; it is number ``local`` of the ranks ``here``. They wait
    for each other for ``patience_s`` at most, which whoever watches them will not.
    """

    rank: int
    size: int
    attempt: Path
    told: Path
    log: Path
    threads: int
    meet: str = ""
    address: str = ""
    local: int = 0
    here: int = 1
    patience_s: float = 1800.0

    @property
    def pulse(self) -> Path:
        return self.attempt / f"pulse-{self.rank}"

    @property
    def word(self) -> Path:
        """What went wrong, pickled."""
        return self.attempt / f"word-{self.rank}"


def train_as(job: Job, seat: Seat) -> NoReturn:
    """Be the rank of ``seat`` until the training's end; the exit code says how it went.

    SIGUSR1 makes it write to its log where each of its threads is.
    """
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        _train(job, seat)
    except BaseException as error:
        traceback.print_exc()
        _leave_word(seat, error)
    finally:
        sys.stderr.flush()
        os._exit(TOLD)


def _train(job: Job, seat: Seat) -> NoReturn:
    import torch
    from torch import distributed

    from undercroft.train.parallel import device as devices
    from undercroft.train.parallel.plan import Plan
    from undercroft.train.parallel.team import at_meetings, leave, team

    torch.set_num_threads(seat.threads)
    heart = Heart(seat.pulse, orphaned=lambda: os._exit(1))
    site = _InRank(seat, heart)
    devices.seat(seat.local, seat.here)
    device = devices.chosen(job.params.device)
    parts = job.build(site)
    _join(seat, devices.backend(device))
    parallel = job.params.parallel.model_copy(update={"processes": seat.size})
    params = job.params.model_copy(update={"parallel": parallel})
    crew = team(Plan.of(parallel, job.section), device)
    run = job.run(parts, site.event, params=params, team=crew, beat=heart.beat)
    heart.beat(run.schedule.step)
    at_meetings.append(heart.beat)  # whoever hangs has come to fewer of them
    run.train(gauged(run, site.report, job.meter, job.state) if seat.rank == 0 else site.report)
    run.keep()
    distributed.barrier()
    leave()


def _join(seat: Seat, backend: str) -> None:
    """Make torch's group of all ranks."""
    from torch import distributed

    patience = timedelta(seconds=seat.patience_s)
    # What ranks of one machine say need not leave it; of several, each talks where it is reached.
    interface = _interface(seat.address if seat.meet else "127.0.0.1")
    if interface:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    if not seat.meet:
        store = distributed.FileStore(str(seat.attempt / _GROUP), seat.size)
    else:
        store = _at_address(seat, patience)
    store.set_timeout(patience)
    distributed.init_process_group(
        backend, store=store, rank=seat.rank, world_size=seat.size, timeout=patience
    )


def _interface(address: str) -> str:
    """The network interface that has ``address``, or nothing."""
    import psutil

    return next(
        (
            name
            for name, found in psutil.net_if_addrs().items()
            if any(each.address == address for each in found)
        ),
        "",
    )


def _at_address(seat: Seat, patience: timedelta) -> Any:
    """The store that the first rank keeps on a port that was free."""
    from torch import distributed

    path = seat.attempt / _ADDRESS
    if seat.rank == 0:
        store = distributed.TCPStore(
            seat.meet, 0, seat.size, is_master=True, timeout=patience, wait_for_workers=False
        )
        make_whole(path, lambda half: _written(half, str(store.port)))
        return store
    _wait_for(path)
    port = int(path.read_text())
    return distributed.TCPStore(seat.meet, port, seat.size, is_master=False, timeout=patience)


class _InRank:
    """The site of a job in a rank: only the first one builds what is built once, and is heard."""

    def __init__(self, seat: Seat, heart: Heart) -> None:
        self._is_first = seat.rank == 0
        self._heart = heart
        self._teller = Teller(seat.told) if self._is_first else None

    def tell(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        self._heart.beat()
        if self._teller:
            self._teller.tell(progress=[done, total, unit, note])

    def event(self, kind: str, detail: Mapping[str, Any]) -> None:
        if self._teller:
            self._teller.tell(event=kind, detail=dict(detail))

    def report(self, point: Point, schedule: Schedule) -> None:
        if self._teller:
            self._teller.tell(point=asdict(point), schedule=asdict(schedule))

    def once(self, path: Path, make: Callable[[Path], None]) -> Path:
        if self._is_first and not path.exists():
            make_whole(path, make)
        _wait_for(path)
        return path


def _leave_word(seat: Seat, error: BaseException) -> None:
    """The error itself if it can be pickled, else one that says the same."""
    try:
        said = pickle.dumps(error)
        pickle.loads(said)  # noqa: S301 - our own
    except Exception:
        said = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    make_whole(seat.word, lambda half: _written(half, said))


def _written(path: Path, what: str | bytes) -> None:
    path.write_bytes(what.encode() if isinstance(what, str) else what)


def _wait_for(path: Path) -> None:
    """Return when there is ``path``; whoever watches over the ranks ends one that waits in vain."""
    while not path.exists():
        time.sleep(_WAIT_S)
