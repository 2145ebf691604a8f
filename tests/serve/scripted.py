"""An OpenAI-compatible server that answers what a script says, for faults no real engine has.

The script's name is the last word of the last message: ``… script:NAME``.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

PIECES: dict[str, list[str]] = {
    "plain": ["It ", "is ", "so", " [1]", ". No", " [", "9", "]", "."],
    "mail": ["Write to ali", "ce@riverb", "ank.co or ", "bob@riverbank.co", " soon."],
    "empty": [],
    "empty-cut": ["So "],
    "json": ['{"city"', ': "Wy', 'e"}'],
    "key": ["The key is AKIA", "IOSFODNN7", "EXAMPLQ, keep it."],
}
CALLS = [  # of two tools, as loose as engines are: no index, no type, a name that comes late
    [{"index": 3, "id": "call_a", "function": {"name": "weather", "arguments": '{"ci'}}],
    [{"index": 3, "function": {"arguments": 'ty": "ali'}}],
    [{"index": 3, "function": {"arguments": 'ce@riverbank.co"}'}}],
    [{"index": 7, "function": {"arguments": "{"}}],
    [{"index": 7, "id": "call_b", "function": {"name": "clock", "arguments": "}"}}],
]
DELTAS: dict[str, list[dict[str, Any]]] = {
    "calls": [{"tool_calls": calls} for calls in CALLS],
    "thinks": [
        {"reasoning_content": "Her mail is ali"},
        {"reasoning_content": "ce@riverbank.co."},
        {"content": "I may not "},
        {"content": "say."},
    ],
    "written-call": [
        {"content": piece}
        for piece in (' {"na', 'me": "weather", "argu', 'ments": {"city": "W', 'ye"}}\n')
    ],
    "written-no-call": [{"content": piece} for piece in ('{"na', 'me": "Ada"}')],
}
USAGE = {
    "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 5},
}  # fmt: skip


class Scripted:
    """What the server was asked, newest last; with ``always`` it follows that script alone."""

    def __init__(self) -> None:
        self.always = ""
        self.asked: list[dict[str, Any]] = []
        self.url = ""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        said = body["messages"][-1]["content"].rpartition("script:")[2]
        name = self.always or "".join(said.split()[:1])
        if name == "busy":
            error = {"error": {"message": "slow down"}}
            return web.json_response(error, status=429, headers={"retry-after": "3"})
        if name == "nonsense":
            return web.Response(text="<html>", content_type="text/html")
        if body.get("stream"):
            return await self._stream(request, name)
        reason = "length" if name == "empty-cut" else "stop"
        choice: dict[str, Any] = {"index": 0, "message": whole(name), "finish_reason": reason}
        if body.get("logprobs"):
            choice["logprobs"] = logprobs(PIECES[name])
        return web.json_response({"choices": [choice], "usage": USAGE})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """A plain completion: one word."""
        body = await request.json()
        self.asked.append(body)
        if body["prompt"] == "nowhere":
            return web.Response(text="404: Not Found", status=404)
        choice: dict[str, Any] = {"index": 0, "text": "So", "finish_reason": "stop"}
        if body.get("logprobs"):
            choice["logprobs"] = columns() if body["prompt"] == "columns" else as_list(columns())
        if not body.get("stream"):
            return web.json_response({"choices": [choice], "usage": USAGE})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event(choice) + b"data: [DONE]\n\n")
        return response

    async def _stream(self, request: web.Request, name: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in PIECES.get(name, ["So ", "far "]):
            if name in DELTAS:
                break
            said = {"delta": {"content": piece}, "finish_reason": None}
            if (await request.json()).get("logprobs"):
                said["logprobs"] = logprobs([piece])
            await response.write(event(said))
            await asyncio.sleep(0)
        for delta in DELTAS.get(name, ()):
            await response.write(event({"delta": delta, "finish_reason": None}))
        if name == "hangs-up":
            assert request.transport is not None
            request.transport.abort()
            return response
        if name == "just-ends":
            return response
        if name == "in-band":
            await response.write(b'data: {"error": {"message": "out of memory"}}\n\n')
            return response
        await response.write(event({"delta": {}, "finish_reason": "stop"}))
        await response.write(f"data: {json.dumps({'choices': [], 'usage': USAGE})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def whole(name: str) -> dict[str, Any]:
    """The message that all deltas of a script make up."""
    if name == "calls":
        function = {"name": "weather", "arguments": '{"city": "alice@riverbank.co"}'}
        return {"content": None, "tool_calls": [{"id": "call_a", "function": function}]}
    if name not in DELTAS:
        return {"content": "".join(PIECES.get(name, []))}
    said: dict[str, Any] = {}
    for delta in DELTAS[name]:
        for field, text in delta.items():
            said[field] = said.get(field, "") + text
    return said


def logprobs(pieces: list[str]) -> dict[str, Any]:
    """As llama.cpp gives them, with ids."""
    return {
        "content": [
            {"id": 1, "token": piece, "logprob": -0.5, "bytes": list(piece.encode()),
             "top_logprobs": [{"id": 1, "token": piece, "logprob": -0.5, "bytes": None}]}
            for piece in pieces
        ]
    }  # fmt: skip


def columns() -> dict[str, Any]:
    """Log probabilities of a plain completion, as vLLM gives them."""
    return {
        "tokens": ["S", "o"], "token_logprobs": [-0.5, -0.25], "text_offset": [0, 1],
        "top_logprobs": [{"S": -0.5, "T": -1.5}, {"o": -0.25, "a": -2.5}],
    }  # fmt: skip


def as_list(said: dict[str, Any]) -> dict[str, Any]:
    """The same as llama.cpp gives them."""
    rows = zip(said["tokens"], said["token_logprobs"], said["top_logprobs"], strict=True)
    return {
        "content": [
            {"id": 1, "token": token, "logprob": logprob, "bytes": list(token.encode()),
             "top_logprobs": [{"token": each, "logprob": top[each]} for each in top]}
            for token, logprob, top in rows
        ]
    }  # fmt: skip


def event(choice: dict[str, Any]) -> bytes:
    return f"data: {json.dumps({'choices': [{'index': 0, **choice}]})}\r\n\r\n".encode()


@contextmanager
def running() -> Iterator[Scripted]:
    """The server on a free port, in a thread, until the block ends."""
    scripted, ready, loop = Scripted(), threading.Event(), asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", scripted.chat)
        app.router.add_post("/v1/completions", scripted.complete)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        return runner

    def work() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait(5)
    try:
        yield scripted
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
