"""The client of the gateway's benchmarks: whole answers one after another or many at once, and
streams read event by event. It reads no more of HTTP than it must, so that it costs little."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Coroutine, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import psutil

from benchmarks.compare import quantile
from benchmarks.sides import Side

T = TypeVar("T")

OK = b"HTTP/1.1 200"


def one_by_one(side: Side, requests: int, warm_up: int = 5) -> list[float]:
    """Seconds of whole answers on one connection, each asked for when the last had come."""
    request, found = side.request(max_tokens=32), []
    with closing(socket.create_connection(("127.0.0.1", side.port), timeout=60)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(warm_up + requests):
            began = time.perf_counter()
            connection.sendall(request)
            received = connection.recv(65536)
            while not complete(received):
                received += connection.recv(65536)
            assert received.startswith(OK), received[:500]
            found.append(time.perf_counter() - began)
    return found[warm_up:]


def tokens_of(side: Side, request: bytes) -> int:
    """The tokens of one whole answer, as the server counts them."""
    with closing(socket.create_connection(("127.0.0.1", side.port), timeout=60)) as connection:
        connection.sendall(request)
        received = connection.recv(65536)
        while not complete(received):
            received += connection.recv(65536)
    assert received.startswith(OK), received[:500]
    counted = re.search(rb'"completion_tokens": ?(\d+)', received)
    return int(counted[1]) if counted else 0


def complete(received: bytes) -> bool:
    """Whether this is a whole answer."""
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return len(body) >= int(length) if length else body.endswith(b"0\r\n\r\n")


@dataclass
class Load:
    """What came of many requests at once."""

    connections: int
    seconds: float
    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    processor_s: float = 0.0  # what the server spent, its children included

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    @property
    def processor_us(self) -> float:
        """Microseconds of the server's processor time for an answer."""
        return self.processor_s / max(1, len(self.latencies)) * 1e6

    @property
    def p99_ms(self) -> float:
        return quantile(self.latencies, 0.99) * 1000 if self.latencies else float("inf")


class _Asker(asyncio.Protocol):
    """Asks again as soon as the last answer has come, until it is told to stop."""

    def __init__(self, request: bytes, load: Load, left: list[int]) -> None:
        self._request, self._load, self._left = request, load, left
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        if self._left[0] <= 0:
            self._transport.close()
            return
        self._left[0] -= 1
        self._received, self._began = b"", time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if complete(self._received):
            if self._received.startswith(OK):
                self._load.latencies.append(time.perf_counter() - self._began)
            else:
                self._load.failures += 1
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._load.failures += 1
        if not self.done.done():
            self.done.set_result(None)


def at_once(
    side: Side, connections: int, seconds: float = 0.0, requests: int = 1_000_000_000
) -> Load:
    """Ask on that many connections, for so long or so many times (closed loop)."""
    before = processor_seconds(side.pid)
    load = _run(_at_once(side, connections, seconds, requests))
    load.processor_s = processor_seconds(side.pid) - before
    return load


def processor_seconds(pid: int) -> float:
    """What a process and its children have spent so far."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in family)


async def _at_once(side: Side, connections: int, seconds: float, requests: int) -> Load:
    load, left, request = Load(connections, 0.0), [requests], side.request(max_tokens=32)
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    if seconds:
        loop.call_later(seconds, left.__setitem__, 0, 0)
    askers = [
        (await loop.create_connection(lambda: _Asker(request, load, left), "127.0.0.1", side.port))[
            1
        ]
        for _ in range(connections)
    ]
    await asyncio.gather(*(asker.done for asker in askers))
    load.seconds = time.perf_counter() - began
    return load


@dataclass
class Stream:
    """When each piece of text came, in seconds from asking; ``whole`` if it ended as it should."""

    times: list[float] = field(default_factory=list)
    whole: bool = False

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


class _Reader(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request, self.stream, self._tail = request, Stream(), b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        pieces = data.count(b'"content":"') - data.count(b'"content":""')
        pieces += data.count(b'"content": "') - data.count(b'"content": ""')
        if pieces:
            self.stream.times += [time.perf_counter() - self._began] * pieces
        self._tail = (self._tail + data)[-64:]
        if b"data: [DONE]" in self._tail:
            self.stream.whole = True
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def hang_up(self) -> None:
        self._transport.close()


def streams(
    side: Side, count: int, apart_s: float = 0.002, patience_s: float = 20.0
) -> list[Stream]:
    """That many streams at once, begun a moment apart; those that have not ended when nobody has
    the patience to wait on are hung up on."""
    return _run(_streams(side, count, apart_s, patience_s))


async def _streams(side: Side, count: int, apart_s: float, patience_s: float) -> list[Stream]:
    request, loop = side.request(max_tokens=512, stream=True), asyncio.get_running_loop()
    readers: list[_Reader] = []
    for _ in range(count):
        made = await loop.create_connection(lambda: _Reader(request), "127.0.0.1", side.port)
        readers.append(made[1])
        await asyncio.sleep(apart_s)
    await asyncio.wait([reader.done for reader in readers], timeout=patience_s)
    for reader in readers:
        reader.hang_up()
    return [reader.stream for reader in readers]


def firsts(found: Sequence[Stream]) -> list[float]:
    """Seconds to the first text of each stream that had any."""
    return [stream.times[0] for stream in found if stream.times]


def _run(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    return uvloop.run(work)
