"""The gateway's process: bind, open, announce, serve, drain."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import uvicorn

from undercroft.jobs import only_one
from undercroft.processes import GATEWAY, announce
from undercroft.project import Project
from undercroft.serve.app import App
from undercroft.serve.gateway import Gateway
from undercroft.serve.wire.connections import PatientProtocol

DRAIN_S = 7.0  # whoever started us gives 10 s before it kills
TURN_S = 0.0005  # of a thread that computes while the loop has work; Python itself has 5 ms

M_ARENA_MAX = -8  # malloc.h
ARENAS = 2

Ready = Callable[[str], None]


def _tell_nobody(api: str) -> None:
    """What a gateway does that nobody waits for."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: it would end the process before we have flushed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(project: Project, ready: Ready = _tell_nobody) -> None:
    """`serve`, if nobody else serves this project. Raises `Busy` otherwise."""
    _share_arenas()
    with only_one(project.state / "serve.lock", f"The gateway of {project.name}"):
        try:
            import uvloop
        except ImportError:
            asyncio.run(serve(project, ready))
            return
        uvloop.run(serve(project, ready))


async def serve(project: Project, ready: Ready = _tell_nobody) -> None:
    """Serve ``project`` until SIGTERM or SIGINT, then let answers under way finish. SIGHUP starts
    the engines again, one after another, as the settings are by then. ``ready`` is told the address
    once requests are answered there.

    Raises `Busy`, `NotFound` (nothing is released) and `EngineFailed` while starting.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings = project.settings.serve
    listener = GATEWAY.listen(settings.host, settings.port)
    listener.setblocking(False)
    gateway = Gateway(project)
    if not await _unless(stop, gateway.start()):
        listener.close()
        return
    loop.add_signal_handler(signal.SIGHUP, gateway.router.renew_soon)
    _settle_memory()
    sys.setswitchinterval(TURN_S)
    server = _Server(_config(gateway))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not running.done():
        await asyncio.sleep(0.005)
    host, port = listener.getsockname()[:2]
    api = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
    place = project.state / GATEWAY.announcement
    announce(place, urls={"api": api}, started=datetime.now(UTC).isoformat())
    ready(api)
    try:
        await _unless(stop, running)
        server.should_exit = True
        await running
    finally:
        place.unlink(missing_ok=True)
        await gateway.stop(0.5)


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> bool:
    """Wait for ``work``; False when ``stop`` came first. Work that was only begun is cancelled."""
    own = not isinstance(work, asyncio.Task)
    task = asyncio.ensure_future(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        task.result()
        return True
    if own:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return False


def _share_arenas() -> None:
    """Have the threads to come share `ARENAS` of glibc's pools of memory. With one for each, what
    the lake's threads freed stayed theirs: 22 MB more for every 100,000 answers, 3 with two."""
    with suppress(OSError, AttributeError):  # another C library has no such pools
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def _settle_memory() -> None:
    """Keep the collector from walking all that was loaded at start again and again: each walk
    would stop every stream for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _config(gateway: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        App(gateway),
        http=PatientProtocol,
        ws="none",
        proxy_headers=False,  # nobody asks who the client is but by its key
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,  # longer than clients keep idle connections
        timeout_graceful_shutdown=int(DRAIN_S),
    )
