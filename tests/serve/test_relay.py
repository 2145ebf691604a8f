"""The door by which other machines reach an engine."""

import asyncio

import pytest

from undercroft.serve.pools.relay import Relay


class Engine:
    """Answers each line with itself, and remembers whether its client hung up."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.came = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        self.left.set()
        writer.close()


@pytest.fixture
async def engine():
    made = Engine()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.fixture
async def relay(engine):
    made = Relay("127.0.0.1", engine.url, "s3cret")
    made.port = int((await made.start()).rpartition(":")[2])
    yield made
    made.close()


async def test_what_carries_the_token_is_passed_on_both_ways(relay, engine) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    head = b"POST / HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n\r\n"
    writer.write(head + b"one\n")
    assert await reader.readexactly(len(head) + 4) == head + b"one\n"
    writer.write(b"two\n")
    assert await reader.readline() == b"two\n"
    writer.close()
    await asyncio.wait_for(engine.left.wait(), 5)


@pytest.mark.parametrize(
    "token", [b"", b"Bearer s3cre", b"Bearer S3CRET", b"Bearer s3cret2", b"Basic s3cret"]
)
async def test_what_does_not_never_reaches_the_engine(relay, engine, token) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"GET / HTTP/1.1\r\nauthorization: " + token + b"\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 401")
    writer.close()
    assert not engine.came


async def test_a_head_without_end_is_hung_up_on(relay, engine) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000)
    with pytest.raises((ConnectionError, AssertionError)):
        assert await reader.read() != b""
    writer.close()
    assert not engine.came
