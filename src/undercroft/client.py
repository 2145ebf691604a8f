"""Talking to a project's gateway as one of its clients: the command line and the console do.

The address is in ``.undercroft/serve.json``, the key in ``.undercroft/local.key``.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from undercroft.errors import Denied, EngineFailed, NotFound, Overloaded, UndercroftError
from undercroft.processes import GATEWAY, read_announcement
from undercroft.project import Project

if TYPE_CHECKING:
    import aiohttp

KEY_FILE = "local.key"
_HEALTH_TIMEOUT_S = 0.5
_ANSWER_TIMEOUT_S = 180.0


def local_key(project: Project) -> str:
    """The API key of this machine's own console and commands, made when there is none."""
    path = project.state / KEY_FILE
    if path.exists():
        secret = path.read_text(encoding="utf-8").strip()
        if project.trust.keys.identify(secret) is not None:
            return secret
    _, secret = project.trust.keys.create("local", "admin")
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")
    return secret


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
    sources: Sequence[Mapping[str, Any]] | None = None
    tokens: int = 0


@dataclass
class Answer:
    """The pieces of an answer put together, as far as they have come."""

    id: str = ""
    text: str = ""
    sources: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tokens: int = 0

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.id = piece.answer_id or self.id
        self.tokens = piece.tokens or self.tokens
        if piece.sources:
            self.sources = [dict(source) for source in piece.sources]


class Gateway:
    """The gateway of one project; each call looks its address up anew, since it may restart."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def url(self) -> str:
        """The base URL of the API (ends in ``/v1``), or "" where no gateway runs."""
        announced = read_announcement(self._project.state / GATEWAY.announcement) or {}
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

        Raises `NotFound` when nothing serves this project, and what the gateway says: `Denied`,
        `Overloaded`, or `EngineFailed` for the rest, also when it cannot be reached.
        """
        body = {
            "model": self._project.name,
            "messages": list(turns),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        address = f"{self._address()}/chat/completions"
        with _reaching(address):
            async with (
                self._session(_ANSWER_TIMEOUT_S) as session,
                session.post(address, json=body) as reply,
            ):
                await _check(reply)
                async for line in reply.content:
                    data = line.decode().strip().removeprefix("data:").strip()
                    if data and data != "[DONE]":
                        yield _piece(json.loads(data))

    def answer(self, question: str, tell: Callable[[str], None] = lambda _: None) -> Answer:
        """The whole answer to one ``question``; ``tell`` gets the text as it comes.

        Not for use inside an event loop. Raises what `ask` raises.
        """

        async def gather() -> Answer:
            answer = Answer()
            async for piece in self.ask([{"role": "user", "content": question}]):
                answer.add(piece)
                tell(piece.text)
            return answer

        return asyncio.run(gather())

    async def rate(self, answer_id: str, rating: int, comment: str = "") -> None:
        """Give feedback on an answer: 1, -1, or 0 with only a comment."""
        body = {"answer": answer_id, "rating": rating, "comment": comment}
        address = f"{self._address()}/feedback"
        with _reaching(address):
            async with self._session(10) as session, session.post(address, json=body) as reply:
                await _check(reply)

    def _address(self) -> str:
        url = self.url()
        if not url:
            raise NotFound(
                f"Nothing serves {self._project.name} now.",
                do=f"Start it with: undercroft up {self._project.root}",
            )
        return url

    def _session(self, timeout_s: float) -> aiohttp.ClientSession:
        import aiohttp

        return aiohttp.ClientSession(
            headers={"authorization": f"Bearer {local_key(self._project)}"},
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
        sources=event.get("sources"),
        tokens=(event.get("usage") or {}).get("completion_tokens") or 0,
    )


@contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Turn what goes wrong on the way to ``address`` into `EngineFailed`."""
    import aiohttp

    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        why = f"{type(error).__name__} at {address}: {error}."
        raise EngineFailed("The gateway hung up.", why, "See: undercroft status") from error


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
        return Denied(
            what, "This machine's own key is not accepted.", "Start again with: undercroft up"
        )
    if status in {429, 503}:
        return Overloaded(what, do="Wait a moment and ask again.")
    return EngineFailed(what)


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return str(error.get("message") or error.get("what") or "The gateway reports an error.")
    return str(error or "The gateway reports an error.")
