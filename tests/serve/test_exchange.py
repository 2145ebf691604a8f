"""Clients that are slow: to send, to go on, to read."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from uvicorn.server import ServerState

from undercroft.errors import Cancelled, Denied
from undercroft.serve.wire import connections, exchange
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.failures import HttpError

SCOPE = {"method": "POST", "path": "/", "headers": []}


async def never(*_):
    await asyncio.Event().wait()


async def test_a_body_that_stops_in_the_middle_is_given_up(monkeypatch):
    monkeypatch.setattr(exchange, "BODY_WITHIN_S", 0.02)
    parts = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive():
        return parts.pop() if parts else await never()

    with pytest.raises(HttpError) as refused:
        await Exchange(SCOPE, receive, never).body(1000)
    assert refused.value.http_status == 408


async def test_a_body_is_read_once_and_known_after(monkeypatch):
    parts = [
        {"type": "http.request", "body": b"cd"},
        {"type": "http.request", "body": b"ab", "more_body": True},
    ]

    async def receive():
        return parts.pop()

    asked = Exchange(SCOPE, receive, never)
    assert await asked.body(4) == await asked.body(4) == b"abcd"
    assert await asked.for_another(never, never).body(4) == b"abcd"


async def test_a_client_that_does_not_read_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(connections, "READ_WITHIN_S", 0.2)
    ended = asyncio.Event()

    async def endless(scope, receive, send):
        asked = Exchange(scope, receive, send)
        with pytest.raises(Cancelled):
            await without_end(asked)
        assert asked.gone
        ended.set()

    async with serving(endless) as address:
        _, writer = await asyncio.open_connection(*address, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(5):
            await ended.wait()
        writer.close()


async def without_end(asked: Exchange) -> None:
    async with asked.cancelled_on_hang_up():
        await asked.start_stream(lambda _: b"")
        while True:
            await asked.frame(b"a" * 65536)


async def test_what_is_sent_after_a_refusal_is_read_for_a_while_and_no_longer(monkeypatch):
    monkeypatch.setattr(connections, "REST_BYTES", 300_000)
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n"

    async def refuse(scope, receive, send):
        with pytest.raises(HttpError) as refused:
            await Exchange(scope, receive, send).body(1000)
        await Exchange(scope, receive, send).reply(refused.value.http_status, b"no")

    async with serving(refuse) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.write(head)
        sent = 0
        with suppress(ConnectionError):
            while sent < 100_000_000:
                writer.write(b"a" * 100_000)
                sent += 100_000
                await writer.drain()
                await asyncio.sleep(0)
        assert sent < 50_000_000
        writer.close()


async def test_work_under_way_can_be_interrupted_with_an_error():
    asked = Exchange(SCOPE, never, never)
    asyncio.get_running_loop().call_later(0.01, asked.interrupt, Denied("Revoked."))
    with pytest.raises(Denied):
        async with asyncio.timeout(5), asked.cancelled_on_hang_up():
            await never()
    assert not asked.gone


@pytest.mark.parametrize("within_s", [0.01, 0.15])
async def test_work_that_takes_longer_than_it_may_is_ended(within_s):
    asked = Exchange(SCOPE, never, never)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5), asked.cancelled_on_hang_up(within_s):
            await never()
    assert not asked.gone


@pytest.mark.parametrize("after_s", [0.0, 0.15])
async def test_whoever_hangs_up_sooner_or_later_ends_the_work(after_s):
    async def receive():
        await asyncio.sleep(after_s)
        return {"type": "http.disconnect"}

    asked = Exchange(SCOPE, receive, never)
    with pytest.raises(Cancelled):
        async with asyncio.timeout(5), asked.cancelled_on_hang_up():
            await never()
    assert asked.gone


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n", b"GET / HTTP"])
async def test_a_head_that_never_ends_closes_the_connection(monkeypatch, sent):
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.05)
    async with asyncio.timeout(5):
        assert await received(sent) == b""


async def test_endless_headers_are_refused():
    said = await received(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100_000)
    assert said[:12] in (b"HTTP/1.1 400", b"")  # it may hang up before that is read


async def test_a_request_that_is_whole_is_answered_however_often(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.2)
    whole = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    said = await received(whole, whole, b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert said.count(b"200 OK") == 3


async def received(*sent: bytes) -> bytes:
    """All that a server says to what is ``sent`` to it, a moment apart."""

    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"."})

    async with serving(answer) as address:
        reader, writer = await asyncio.open_connection(*address)
        try:
            for each in sent:
                writer.write(each)
                await writer.drain()
                await asyncio.sleep(0.01)
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def serving(app):
    """The address at which the protocol serves ``app``."""
    config, state = uvicorn.Config(app, log_level="critical"), ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: connections.PatientProtocol(config, state, {}), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()
