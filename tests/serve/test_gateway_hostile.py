"""Engines that break off anywhere, lie or rave, and clients that mean harm, over real sockets."""

import asyncio
import gzip
import json
import socket
import time
import urllib.parse
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from tests.serve import raw_upstream
from tests.serve.raw_upstream import SAYINGS, TEXT
from tests.serve.serving import gateway_of, keep, make_project, release
from undercroft.errors import EngineFailed, NotFound, UndercroftError
from undercroft.records import Principal
from undercroft.serve.admission.budgets import Budgets
from undercroft.serve.gateway import Gateway
from undercroft.serve.pools import upstream
from undercroft.serve.wire.failures import HttpError, OutOfTokens

TIMEOUT_S = 3.0
EVERY = 61  # bytes between two cuts that go through a whole gateway; all of them do without one


@pytest.fixture(scope="module")
def raw():
    with raw_upstream.running() as raw:
        yield raw


@pytest.fixture(scope="module")
def fronted(tmp_path_factory, raw):
    """A gateway in front of the engine that does as it is told, under a name for each test that
    has it fail: what is known of an engine's failures must not reach from one into another."""
    project = make_project(
        tmp_path_factory.mktemp("hostile") / "p", slots=64, queue=512, timeout_s=TIMEOUT_S,
        cache_entries=0, daily_tokens=0, screen_input=False,
    )  # fmt: skip
    meta = {"engine": "remote", "base_url": raw.url}
    models = [
        keep(project, "model", name, meta)
        for name in ("well", "breaks", "hangs", "leaves", "stale")
    ]
    arms = [{"model": str(model.ref), "weight": 1} for model in models]
    release(project, models[0], arms=arms)
    with gateway_of(project) as gateway:
        yield gateway


def told(**what) -> list[dict]:
    return [{"role": "user", "content": json.dumps(what)}]


# --- engines -----------------------------------------------------------------------------------


async def said(url: str, stream: bool, **what) -> str:
    """What an engine is understood to say. Raises what `upstream.pieces` raises."""
    client = upstream.session()
    payload = {"messages": told(**what), "stream": stream}
    text, reason = "", None
    try:
        async with asyncio.timeout(10):
            async for piece in upstream.pieces(client, url + "/v1/chat/completions", payload):
                text += piece.text
                reason = piece.finish_reason or reason
    finally:
        await client.close()
    assert reason
    return text


@pytest.mark.parametrize(
    ("name", "then", "step"),
    [("stream", "close", 1), ("stream", "reset", 20), ("unsized", "close", 2),
     ("whole", "close", 2), ("whole", "reset", 9)],
)  # fmt: skip
async def test_an_engine_cut_off_after_any_byte_has_answered_all_or_failed(raw, name, then, step):
    answered = 0
    for upto in range(0, len(SAYINGS[name]) + 1, step):
        with suppress(EngineFailed):
            assert await said(raw.url, name != "whole", say=name, upto=upto, then=then) == TEXT
            answered += 1
    assert answered < 150  # the rest of a stream after its last word


@pytest.mark.parametrize(
    ("name", "stream"),
    [(name, stream) for name in SAYINGS if name not in ("stream", "unsized")
     for stream in (True, False) if (name, stream) != ("whole", False)],
)  # fmt: skip
async def test_an_engine_that_lies_or_raves_has_failed(raw, name, stream):
    then = "go on" if name in ("two answers", "elsewhere") else "close"
    with pytest.raises(UndercroftError):
        await said(raw.url, stream, say=name, then=then)
    assert not raw.elsewhere


@pytest.mark.parametrize(("name", "stream"), [
    ("no end of a line", True), ("no end of data", True), ("no end of headers", True),
    ("no end of a body", False),
])  # fmt: skip
async def test_an_engine_without_an_end_is_given_up_before_memory_is(
    raw, name, stream, monkeypatch
):
    monkeypatch.setattr(upstream, "LONGEST_ANSWER", 16_000_000)
    before = psutil.Process().memory_info().rss
    with pytest.raises(EngineFailed):
        await said(raw.url, stream, say=name)
    assert psutil.Process().memory_info().rss - before < 200e6


async def asked(fronted, model: str, stream: bool, key: str = "", **what) -> tuple[int, bytes]:
    """Status and body of the gateway's answer, read to the end of the connection."""
    parts = urllib.parse.urlsplit(fronted.root)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(
        request(fronted, key, model=f"model:{model}", stream=stream, messages=told(**what))
    )
    async with asyncio.timeout(15):
        received = await reader.read()
    writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def request(fronted, key: str = "", length: int | None = None, **fields) -> bytes:
    body = json.dumps({"model": "model:well", **fields}).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"content-type: application/json\r\n"
        + f"authorization: Bearer {key or fronted.key}\r\n".encode()
        + f"content-length: {len(body) if length is None else length}\r\n\r\n".encode()
        + body
    )


def frames(body: bytes) -> list[dict | str]:
    """The events of a stream sent in chunks."""
    said = [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]
    return [line.decode() if line == b"[DONE]" else json.loads(line) for line in said]


def judged(status: int, body: bytes) -> str:
    """How an answer ends for its client, if it does so cleanly."""
    if status != 200:
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        return "refused"
    if body.startswith(b"{"):
        assert json.loads(body)["choices"][0]["message"]["content"] == TEXT
        return "whole"
    events = frames(body)
    text = "".join(c["delta"].get("content") or "" for e in events if "choices" in e
                   for c in e["choices"])  # fmt: skip
    if "error" in events[-1]:
        assert TEXT.startswith(text)
        assert not any(c["finish_reason"] for e in events[:-1] for c in e["choices"])
        return "broken"
    assert events[-1] == "[DONE]"
    assert text == TEXT
    return "whole"


async def test_what_breaks_anywhere_is_an_error_to_the_client_and_never_a_whole_answer(fronted):
    asks = [
        asked(fronted, "breaks", name == "stream", say=name, upto=upto, then=then)
        for name in ("stream", "whole")
        for then in ("close", "reset")
        for upto in [*range(0, len(SAYINGS[name]), EVERY), len(SAYINGS[name])]
    ]
    ends = [judged(*each) for each in await asyncio.gather(*asks)]
    assert {"refused", "broken", "whole"} == set(ends)
    assert ends.count("whole") < 10


async def test_the_second_try_takes_no_connection_that_was_kept(fronted, raw):
    said = {"say": "whole", "then": "go on"}
    together = [asked(fronted, "stale", False, **said) for _ in range(8)]
    assert {status for status, _ in await asyncio.gather(*together)} == {200}
    raw.once = True  # none of those connections is any good now
    try:
        for _ in range(3):
            assert judged(*await asked(fronted, "stale", False, **said)) == "whole"
    finally:
        raw.once = False


async def test_a_schema_that_leads_nowhere_is_the_clients_fault_and_no_engines(raw):
    with pytest.raises(HttpError) as refused:
        await said(raw.url, True, say="no way on")
    assert (refused.value.http_status, refused.value.param) == (400, "response_format")


async def test_an_engine_that_hangs_is_waited_for_no_longer_than_the_time_limit(fronted):
    began = time.monotonic()
    before, amid, whole = await asyncio.gather(
        asked(fronted, "hangs", True, say="stream", upto=0, then="hang"),
        asked(fronted, "hangs", True, say="stream", upto=400, then="hang"),
        asked(fronted, "hangs", False, say="whole", upto=150, then="hang"),
    )
    assert time.monotonic() - began < 3 * TIMEOUT_S
    assert before[0] == whole[0] == 504
    assert frames(amid[1])[-1]["error"]["code"] == "timeout"


async def test_a_key_revoked_in_mid_stream_ends_the_stream_and_what_was_said_is_charged(fronted):
    keys = fronted.project.trust.keys
    who, secret = keys.create("gone-soon", "user")
    going = asyncio.create_task(
        asked(fronted, "leaves", True, secret, say="stream", upto=400, then="hang")
    )
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await asyncio.to_thread(keys.revoke, who.name)
    status, body = await going
    assert time.monotonic() - began < 2.5
    assert (status, frames(body)[-1]["error"]["type"]) == (200, "authentication_error")
    (row,) = await asyncio.to_thread(fronted.rows, "requests", f"key = '{who.id}'")
    assert (row["status"], row["finish_reason"]) == ("error", "")
    assert row["completion_tokens"] > 0


def test_a_route_to_a_model_that_is_not_there_is_one_clear_error(tmp_path):
    project = make_project(tmp_path / "p")
    route = keep(project, "route", project.name, {"model": "model:gone@3"})
    project.ledger.set_alias(route.ref, "live", "test")
    with pytest.raises(NotFound) as missing:
        asyncio.run(start_and_stop(project))
    assert "model:gone@3" in str(missing.value)


async def start_and_stop(project) -> None:
    await Gateway(project).start()


# --- clients -----------------------------------------------------------------------------------


def connected(fronted) -> socket.socket:
    parts = urllib.parse.urlsplit(fronted.root)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def memory(fronted) -> int:
    return psutil.Process(fronted.process.pid).memory_info().rss


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_of_a_hundred_megabytes_is_refused_without_reading_it(fronted, announced):
    before = memory(fronted)
    block, sent, received = b"a" * 1_000_000, 0, b""
    head = request(fronted, length=100_000_000, messages=[])
    if not announced:
        head = head.replace(b"content-length: 100000000", b"transfer-encoding: chunked")
        head, block = head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", b"f4240\r\n" + block + b"\r\n"
    with connected(fronted) as connection:
        connection.sendall(head)
        with suppress(ConnectionError):
            while sent < 100e6:
                connection.sendall(block)
                sent += len(block)
        with suppress(ConnectionError):
            while chunk := connection.recv(65536):
                received += chunk
    assert received.startswith(b"HTTP/1.1 413")
    assert b'"code":"request_too_large"' in received
    assert sent < 30e6
    assert memory(fronted) - before < 20e6


def test_a_compressed_body_is_refused_unopened(fronted):
    bomb = gzip.compress(b"[" * 10_000_000)
    head = request(fronted, length=len(bomb)).partition(b"\r\n\r\n")[0]
    received = b""
    with connected(fronted) as connection:
        connection.sendall(head + b"\r\ncontent-encoding: gzip\r\n\r\n" + bomb)
        while chunk := connection.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 415")
    assert b'"param":"content-encoding"' in received


def chunked(fronted, *, key: str = "", size: bytes = b"", trailer: bytes = b"") -> bytes:
    """A request in one chunk, with ``size`` after the chunk's own, and a ``trailer``."""
    head, _, body = request(fronted, key, messages=told(say="whole")).partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
    head = b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", b""])
    return head + b"%x" % len(body) + size + b"\r\n" + body + b"\r\n0\r\n" + trailer + b"\r\n"


@pytest.mark.parametrize("key", ["", "uc-nobody"])
def test_what_follows_a_body_in_chunks_replaces_no_header(fronted, key):
    trailer = f"authorization: Bearer {'' if not key else fronted.key}\r\n".encode()
    with connected(fronted) as connection:
        connection.sendall(chunked(fronted, key=key, trailer=trailer))
        received = connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 401" if key else b"HTTP/1.1 200")


@pytest.mark.parametrize("part", ["size", "trailer"])
def test_what_is_around_chunks_has_an_end(fronted, part):
    beginning = {"size": b";a=", "trailer": b"x-a: "}[part]
    head = chunked(fronted, **{part: beginning}).partition(beginning)[0] + beginning
    sent, received = 0, b""
    with connected(fronted) as connection:
        with suppress(ConnectionError):
            connection.sendall(head)
            while sent < 100e6:
                connection.sendall(b"b" * 1_000_000)
                sent += 1_000_000
        with suppress(ConnectionError):
            received = connection.recv(65536)
    assert sent < 30e6
    assert b"HTTP/1.1 200" not in received


def test_what_is_no_http_after_a_request_is_no_part_of_its_answer(fronted):
    asked = request(fronted, stream=True, messages=told(say="stream", upto=400, then="hang"))
    received = b""
    with connected(fronted) as connection, suppress(ConnectionError):
        connection.sendall(asked.replace(b"connection: close\r\n", b""))
        while b"It " not in received:
            received += connection.recv(65536)
        connection.sendall(b"\x00 what?\r\n\r\n")
        while chunk := connection.recv(65536):
            received += chunk
    assert received.count(b"HTTP/1.1") == 1


def test_what_is_no_http_is_told_so_in_the_same_shape_as_everything(fronted):
    with connected(fronted) as connection:
        connection.sendall(b"\x16\x03\x01 is this TLS?\r\n\r\n")
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"\r\nx-request-id: req-" in head
    assert json.loads(body)["error"]["code"] == "invalid_http"


def test_a_client_that_closes_its_half_has_hung_up(fronted):
    with connected(fronted) as connection:
        connection.sendall(
            request(fronted, stream=True, messages=told(say="stream", upto=300, then="hang"))
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        connection.shutdown(socket.SHUT_WR)
        began = time.monotonic()
        while connection.recv(65536):
            pass
    assert time.monotonic() - began < TIMEOUT_S / 2


def test_the_gateway_is_well_after_all_this(fronted):
    with fronted.client() as client:
        said = client.chat.completions.create(model="model:well", messages=told(say="whole"))
    assert said.choices[0].message.content == TEXT


# --- clocks ------------------------------------------------------------------------------------


def test_a_clock_set_back_across_midnight_gives_no_budget_back():
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    times = [noon]
    budgets = Budgets(100, now=lambda: times[0])
    who = Principal("key-1", "ada", "user")

    def spend() -> None:
        with budgets.reserve(who, 60) as grant:
            grant.used = 60

    spend()
    for now in (noon - timedelta(hours=13), noon):
        times[0] = now
        with pytest.raises(OutOfTokens):
            spend()
    times[0] = noon - timedelta(days=400)  # it had been wrong for long
    spend()
    times[0] += timedelta(days=1)
    spend()
