"""Talking to this project's gateway, as one of its clients.

The address is in ``.undercroft/serve.json``, the key in ``.undercroft/local.key``.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from undercroft.errors import Denied, EngineFailed, NotFound, Overloaded, UndercroftError
from undercroft.processes import read_announcement
from undercroft.project import Project

if TYPE_CHECKING:
    import aiohttp

ADDRESS_FILE = "serve.json"
KEY_FILE = "local.key"
_HEALTH_TIMEOUT_S = 0.5
_ANSWER_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Serving:
    """Whether the gateway runs; ``url`` is "" where none was started."""

    url: str
    healthy: bool
    problem: str = ""


@dataclass(frozen=True)
class Piece:
    """A part of a streamed answer: some text, or what came with its end."""

    text: str = ""
    answer_id: str = ""
    model: str = ""
    finish_reason: str = ""
    sources: Sequence[Mapping[str, Any]] | None = None
    tokens: int = 0


class Gateway:
    """The gateway of one project; each call looks its address up anew, since it may restart."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def url(self) -> str:
        """The base URL of the API (ends in ``/v1``), or "" where no gateway runs."""
        announced = read_announcement(self._project.state / ADDRESS_FILE) or {}
        return str((announced.get("urls") or {}).get("api") or "").rstrip("/")

    def state(self) -> Serving:
        """Whether it answers; blocks for half a second at most."""
        url = self.url()
        if not url:
            return Serving("", False)
        try:
            health = url.removesuffix("/v1") + "/health"
            with urllib.request.urlopen(health, timeout=_HEALTH_TIMEOUT_S):  # noqa: S310 our own
                return Serving(url, True)
        except urllib.error.HTTPError as error:
            return Serving(url, False, f"Its health check says {error.code}.")
        except (OSError, ValueError) as error:
            return Serving(url, False, f"{error}.")

    async def ask(self, turns: Sequence[Mapping[str, str]]) -> AsyncIterator[Piece]:
        """The answer to a conversation, piece by piece.

        Raises what the gateway says: `Denied`, `Overloaded`, or `EngineFailed` for the rest.
        """
        body = {
            "model": self._project.name,
            "messages": list(turns),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        address = f"{self._address()}/chat/completions"
        async with (
            self._session(_ANSWER_TIMEOUT_S) as session,
            session.post(address, json=body) as reply,
        ):
            await _check(reply)
            async for line in reply.content:
                data = line.decode().strip().removeprefix("data:").strip()
                if data and data != "[DONE]":
                    yield _piece(json.loads(data))

    async def rate(self, answer_id: str, rating: int, comment: str = "") -> None:
        """Give feedback on an answer: 1, -1, or 0 with only a comment."""
        body = {"answer": answer_id, "rating": rating, "comment": comment}
        address = f"{self._address()}/feedback"
        async with self._session(10) as session, session.post(address, json=body) as reply:
            await _check(reply)

    def _address(self) -> str:
        url = self.url()
        if not url:
            raise NotFound(
                "No gateway is running.",
                do="Start it with: undercroft up",
            )
        return url

    def _session(self, timeout_s: float) -> aiohttp.ClientSession:
        import aiohttp

        path = self._project.state / KEY_FILE
        key = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        return aiohttp.ClientSession(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=3),
            raise_for_status=False,
            read_bufsize=2**20,
        )


def _piece(event: Mapping[str, Any]) -> Piece:
    if "error" in event:
        raise EngineFailed(_message(event), do="Ask again.")
    choice = (event.get("choices") or [{}])[0]
    return Piece(
        text=(choice.get("delta") or {}).get("content") or "",
        answer_id=str(event.get("id") or ""),
        model=str(event.get("model") or ""),
        finish_reason=choice.get("finish_reason") or "",
        sources=event.get("sources"),
        tokens=(event.get("usage") or {}).get("completion_tokens") or 0,
    )


async def _check(reply: aiohttp.ClientResponse) -> None:
    if reply.status < 400:
        return
    try:
        what = _message(await reply.json(content_type=None))
    except (ValueError, TypeError):
        what = f"The gateway answered {reply.status}."
    raise _error(reply.status, what)


def _error(status: int, what: str) -> UndercroftError:
    if status in {401, 403}:
        return Denied(what, "The console's key is not accepted.", "Start again with: undercroft up")
    if status in {429, 503}:
        return Overloaded(what, do="Wait a moment and ask again.")
    return EngineFailed(what)


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return str(error.get("message") or error.get("what") or "The gateway reports an error.")
    return str(error or "The gateway reports an error.")
