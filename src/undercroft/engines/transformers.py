"""transformers behind an OpenAI-compatible API: ``python -m undercroft.engines.transformers``.

For models that have no GGUF, and to hold other engines against: `transformers_text` writes, this
speaks HTTP. As many requests as there are slots are inside; one is computed at a time.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from undercroft.engines.served import BASE, HOST, Task
from undercroft.engines.transformers_text import Drawing, Model, TooLong, Written
from undercroft.errors import UndercroftError
from undercroft.processes import announce, end_with_parent

DEFAULT_TOKENS = 256
MAX_BODY = 64 * 1024 * 1024


class Server:
    """The application; ``model`` writes what it is asked."""

    def __init__(self, model: Model, slots: int) -> None:
        self._model = model
        self._slots = asyncio.Semaphore(slots)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_get("/health", self.health)
        application.router.add_get("/v1/models", self.models)
        application.router.add_post("/v1/chat/completions", self.chat)
        application.router.add_post("/v1/completions", self.complete)
        return application

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": BASE, "object": "model"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        try:
            prompt = self._model.prompt(body["messages"])
        except UndercroftError as error:
            return _refusal(error)
        return await self._answer(request, body, prompt, is_chat=True)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        return await self._answer(request, body, str(body["prompt"]), is_chat=False)

    async def _answer(
        self, request: web.Request, body: Mapping[str, Any], prompt: str, *, is_chat: bool
    ) -> web.StreamResponse:
        gone = threading.Event()
        shape = _Shape(is_chat)
        try:
            async with self._slots:
                written = self._model.write(
                    prompt, drawing_of(body), str(body.get("model") or BASE),
                    lambda: not gone.is_set(),
                )  # fmt: skip
                pieces = _in_thread(written)
                first = await anext(pieces)  # what is wrong with a request shows here
                if body.get("stream"):
                    return await _streamed(request, shape, first, pieces)
                return await _whole(shape, first, pieces)
        except UndercroftError as error:
            return _refusal(error)
        finally:
            gone.set()


class _Shape:
    """An answer's JSON, of chats and of plain completions."""

    def __init__(self, is_chat: bool) -> None:
        self._is_chat = is_chat
        self._fixed = {"id": f"cmpl-{time.time_ns():x}", "created": int(time.time()), "model": BASE}

    def whole(self, text: str, end: Written) -> dict[str, Any]:
        said = (
            {"message": {"role": "assistant", "content": text}} if self._is_chat else {"text": text}
        )
        choice = {"index": 0, **said, "finish_reason": end.reason}
        return {**self._fixed, "choices": [choice], "usage": _usage(end)}

    def piece(self, text: str, reason: str | None = None) -> dict[str, Any]:
        delta = {"content": text} if text else {}
        said = {"delta": delta} if self._is_chat else {"text": text}
        return {**self._fixed, "choices": [{"index": 0, **said, "finish_reason": reason}]}

    def usage(self, end: Written) -> dict[str, Any]:
        return {**self._fixed, "choices": [], "usage": _usage(end)}


async def _whole(
    shape: _Shape, first: str | Written, pieces: AsyncIterator[str | Written]
) -> web.Response:
    said, end = [], None
    piece: str | Written | None = first
    while piece is not None:
        if isinstance(piece, Written):
            end = piece
        else:
            said.append(piece)
        piece = await anext(pieces, None)
    assert end is not None
    return web.json_response(shape.whole("".join(said), end))


async def _streamed(
    request: web.Request,
    shape: _Shape,
    first: str | Written,
    pieces: AsyncIterator[str | Written],
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    piece: str | Written | None = first
    while piece is not None:
        if isinstance(piece, Written):
            await response.write(_event(shape.piece("", piece.reason)))
            await response.write(_event(shape.usage(piece)))
        else:
            await response.write(_event(shape.piece(piece)))
        piece = await anext(pieces, None)
    await response.write(b"data: [DONE]\n\n")
    return response


async def _in_thread(pieces: Iterator[str | Written]) -> AsyncIterator[str | Written]:
    """``pieces``, each waited for in a thread."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def drawing_of(body: Mapping[str, Any]) -> Drawing:
    """How a request wants tokens drawn, in the words of OpenAI, vLLM and llama.cpp."""
    stop = body.get("stop") or ()
    return Drawing(
        max_tokens=int(
            body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_TOKENS
        ),
        temperature=float(body.get("temperature") or 0.0),
        top_p=float(body.get("top_p") or 1.0),
        top_k=int(body.get("top_k") or 0),
        repetition_penalty=float(
            body.get("repetition_penalty") or body.get("repeat_penalty") or 1.0
        ),
        seed=body.get("seed"),
        stops=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _event(said: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(said)}\n\n".encode()


def _usage(end: Written) -> dict[str, int]:
    total = end.prompt_tokens + end.completion_tokens
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.completion_tokens,
        "total_tokens": total,
    }


def _refusal(error: UndercroftError) -> web.Response:
    told: dict[str, Any] = {"message": str(error), "type": "invalid_request_error"}
    if isinstance(error, TooLong):  # as llama.cpp says it
        told |= {"type": "exceed_context_size_error", "n_prompt_tokens": error.tokens}
        told |= {"n_ctx": error.room}
    return web.json_response({"error": told}, status=error.http_status)


async def _serve(task: Task, announcement: Path) -> None:
    model = await asyncio.to_thread(Model, task)
    application = Server(model, task.slots).application()
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, HOST, task.port).start()
    announce(announcement, base_url=f"http://{HOST}:{runner.addresses[0][1]}")
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()
    with suppress(TimeoutError):
        await asyncio.wait_for(runner.cleanup(), 2.0)


def main(arguments: list[str]) -> int:
    """The child: load the model, announce the address, serve until told to end."""
    end_with_parent()
    try:
        asyncio.run(_serve(Task.model_validate_json(arguments[0]), Path(arguments[1])))
    except UndercroftError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
