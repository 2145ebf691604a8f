"""The API's description and versions; fuzzing by the description, and raw abuse of the socket."""

import json
import socket
import time
import urllib.parse
import urllib.request

import msgspec
import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.serve.scripted import running
from tests.serve.serving import gateway_of, keep, keep_index, make_project, release
from undercroft.serve import app
from undercroft.serve.endpoints import openapi
from undercroft.serve.wire import objects, versions
from undercroft.serve.wire.failures import HttpError

EXAMPLES = 12  # for each operation
SAID = {"messages": [{"role": "user", "content": "Wye?"}], "input": "Wye?", "prompt": "Wye?"}


@pytest.fixture(scope="module")
def upstream():
    with running() as scripted:
        scripted.always = "plain"
        yield scripted


@pytest.fixture(scope="module")
def remote(tmp_path_factory, upstream):
    project = make_project(tmp_path_factory.mktemp("api") / "p", daily_tokens=0)
    meta = {"engine": "remote", "base_url": upstream.url + "/v1", "accepts": ["tools", "image"]}
    release(project, keep(project, "model", "remote", meta), **keep_index(project))
    with gateway_of(project) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def api(remote):
    """The published document, asking for a model that there is."""
    with urllib.request.urlopen(remote.root + "/openapi.json") as reply:
        document = json.load(reply)
    for schema in document["components"]["schemas"].values():
        if "model" in schema.get("properties", {}):
            schema["properties"]["model"] = {"enum": ["docs"]}
    return schemathesis.openapi.from_dict(document)


@pytest.mark.parametrize(
    ("path", "method"), [(path, each) for path, ways in openapi.OPERATIONS.items() for each in ways]
)
def test_no_request_that_fits_the_description_or_nearly_does_breaks_it(remote, api, path, method):
    operation = api[path][method]
    ways = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
    headers = {"authorization": f"Bearer {remote.key}"}

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), database=None,
    )  # fmt: skip
    @given(case=st.one_of(ways))
    def send(case):
        if isinstance(case.body, dict):  # what is never right by chance would hide all behind it
            case.body.update({name: SAID[name] for name in SAID if name in case.body})
        reply = case.call(base_url=remote.root, headers=headers, timeout=20)
        assert reply.status_code < 500 or path == "/health", reply.text
        if reply.status_code >= 400 and method != "HEAD":
            assert set(reply.json()) == {"error"}

    send()


def test_every_endpoint_is_described_and_nothing_else():
    described = {(path, each) for path, methods in openapi.OPERATIONS.items() for each in methods}
    assert described == {
        (path, each) for path, methods in app.ENDPOINTS.items() for each in methods
    }


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/chat/completions", {"messages": [{"role": "user", "content": "Wye?"}]},
         objects.ChatCompletion),
        ("/responses", {"input": "Wye?"}, objects.ResponseObject),
        ("/embeddings", {"input": "Wye?"}, objects.Embeddings),
        ("/moderations", {"input": "Wye?"}, objects.Moderation),
        ("/models", None, objects.Models),
        ("/models/docs", None, objects.Model),
    ],
)  # fmt: skip
def test_answers_are_what_the_description_says(remote, path, body, kind):
    data = None if body is None else json.dumps({"model": "docs", **body}).encode()
    request = urllib.request.Request(remote.url + path, data, remote.headers())
    with urllib.request.urlopen(request) as reply:
        msgspec.json.decode(reply.read(), type=kind)


def test_an_old_version_has_the_old_names_and_says_until_when(remote):
    ask = {"model": "docs", "messages": [{"role": "user", "content": "Wye?"}]}
    with remote.client() as client:
        new = client.chat.completions.with_raw_response.create(**ask)
        old = client.chat.completions.with_raw_response.create(
            **ask, extra_headers={versions.HEADER: "2026-11-01"}
        )
        assert new.headers["x-undercroft-model"] == old.headers["x-model"] == "model:remote@1"
        assert new.headers[versions.HEADER] == "2026-11-27"
        assert "x-undercroft-model" not in old.headers
        assert "sunset" not in new.headers
        assert old.headers["deprecation"] == "@1795737600"
        assert old.headers["sunset"] == "Thu, 27 May 2027 00:00:00 GMT"
        with pytest.raises(openai.BadRequestError) as unknown:
            client.models.list(extra_headers={versions.HEADER: "2026-11-28"})
    assert "2026-11-27, 2026-11-01" in str(unknown.value)


def test_an_unknown_version_names_the_nearest():
    with pytest.raises(HttpError) as refused:
        versions.chosen("2026-11-0")
    assert "Did you mean 2026-11-01?" in str(refused.value)


def raw(remote, data: bytes, then: str = "") -> bytes:
    """What the gateway says to ``data``; ``then`` may close our half of the connection."""
    parts = urllib.parse.urlsplit(remote.root)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(data)
        if then == "half-close":
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while b"\r\n\r\n" not in received or b'"error"' not in received:
            chunk = connection.recv(65536)
            if not chunk:
                break
            received += chunk
    return received


def post(remote, body: bytes, length: int | None = None, headers: bytes = b"") -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        + f"authorization: Bearer {remote.key}\r\n".encode()
        + headers
        + f"content-length: {len(body) if length is None else length}\r\n\r\n".encode()
        + body
    )


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"model":"docs","messages":[{"role":"user","content":"\xff\xfe"}]}',
        b'{"model":"docs","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"docs","messages":[{"role":"user","content":"x"}],"seed":1e999}',
        b'{"model":"docs","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"model":"\\u0000","messages":[{"role":"user","content":"x"}]}',
        b"\x00" * 1000,
        b'"' + b"a" * 1_900_000,
    ],
)
def test_bodies_made_to_break_parsers_are_refused(remote, body):
    assert raw(remote, post(remote, body))[9:12] in (b"400", b"404")


def test_headers_of_any_bytes_are_read(remote):
    for header in (
        b"x-undercroft-version: \xff\xfe\r\n", b"x-stainless-read-timeout: nan\r\n",
        b"x-stainless-read-timeout: -1e309\r\n", b"content-length: 5, 5\r\n",
    ):  # fmt: skip
        assert raw(remote, post(remote, b"[", headers=header))[9:10] == b"4"


def test_a_client_that_stops_in_the_middle_harms_nobody(remote):
    parts = urllib.parse.urlsplit(remote.root)
    slow = []
    for _ in range(20):  # each sends a byte now and then, or nothing at all any more
        connection = socket.create_connection((parts.hostname, parts.port), timeout=10)
        connection.sendall(post(remote, b'{"model":', length=1000)[:-3])
        slow.append(connection)
    assert raw(remote, post(remote, b'{"model"', length=100), then="half-close")[9:12] != b"500"
    with remote.client() as client:
        began = time.monotonic()
        client.models.list()
        assert time.monotonic() - began < 2
    for connection in slow:
        connection.close()
