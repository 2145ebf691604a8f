"""Batches of requests to an engine over HTTP, for evaluation; the gateway has its own path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from undercroft.errors import EngineFailed

if TYPE_CHECKING:
    import aiohttp

REQUEST_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of an engine. ``finish_reason`` is ``stop`` or ``length``."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class EngineClient:
    """An HTTP session with one engine; use it as an async context manager.

    Every method raises `EngineFailed` when the engine cannot be reached or refuses.
    """

    def __init__(self, base_url: str, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> EngineClient:
        import aiohttp

        self._session = aiohttp.ClientSession(
            base_url=self._base_url,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            # llama.cpp's server closes the connection after a stream, though it promises to keep
            # it; a pooled connection would fail on its next request.
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        sampling: Mapping[str, Any],
        slot: int | None = None,
    ) -> Reply:
        """One whole answer. ``slot`` names the engine's slot, so that a later request with the
        same beginning finds it cached there."""
        body = {"messages": list(messages), **sampling}
        if slot is not None:
            body["id_slot"] = slot
        answer = await self.post("/v1/chat/completions", body)
        choice, usage = answer["choices"][0], answer["usage"]
        return Reply(
            choice["message"]["content"] or "",
            choice["finish_reason"],
            usage["prompt_tokens"],
            usage["completion_tokens"],
        )

    async def chat_stream(
        self, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any]
    ) -> AsyncIterator[str]:
        """The pieces of one answer as they come; closing the iterator frees the slot."""
        import json

        import aiohttp

        body = {"messages": list(messages), **sampling, "stream": True}
        try:
            async with self._opened().post("/v1/chat/completions", json=body) as response:
                await _raise_for(response)
                async for line in response.content:
                    data = line.removeprefix(b"data: ").strip()
                    if not line.startswith(b"data: ") or data == b"[DONE]":
                        continue
                    for choice in json.loads(data)["choices"]:
                        if piece := choice["delta"].get("content"):
                            yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(self._base_url, error) from error

    async def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text that the model's chat template makes of ``messages``, ready for the answer."""
        answer = await self.post("/apply-template", {"messages": list(messages)})
        return str(answer["prompt"])

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        """Token ids of ``text``; ``special`` reads ``<|im_start|>`` and its like as one token."""
        body = {"content": text, "add_special": False, "parse_special": special}
        return list((await self.post("/tokenize", body))["tokens"])

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The engine's JSON answer to ``body`` at ``path``."""
        import aiohttp

        try:
            async with self._opened().post(path, json=body) as response:
                await _raise_for(response)
                return await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(self._base_url, error) from error

    def _opened(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use the client as an async context manager"
        return self._session


async def chat(
    base_url: str, chats: Sequence[Sequence[Mapping[str, str]]], sampling: Mapping[str, Any]
) -> list[Reply]:
    """Answers to ``chats`` in their order; the engine works on as many at once as it has slots."""
    async with EngineClient(base_url) as client:
        return list(await asyncio.gather(*(client.chat(one, sampling) for one in chats)))


async def _raise_for(response: aiohttp.ClientResponse) -> None:
    if response.status != 200:
        text = (await response.text())[:300]
        raise EngineFailed(
            f"The engine refused a request with status {response.status}.", f"It said: {text}"
        )


def _unreachable(base_url: str, error: BaseException) -> EngineFailed:
    return EngineFailed(
        f"The engine at {base_url} did not answer.", f"{type(error).__name__}: {error}."
    )
