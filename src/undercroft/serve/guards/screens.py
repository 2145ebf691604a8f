"""What may come in and what may go out.

The input is looked through for injection patterns: all are recorded, and a request whose worst
finding is all but certain is refused. The output is masked as it streams: text is held back until
no personal datum or secret can begin in it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Literal, Protocol

from undercroft.detect import StreamScreen, find, score
from undercroft.records import Finding
from undercroft.serve.guards.citations import CitationFilter
from undercroft.serve.guards.escapes import JsonEscapes
from undercroft.serve.wire.failures import HttpError
from undercroft.serve.wire.pieces import Piece, TokenLog, ToolPiece

log = logging.getLogger(__name__)

VERSION = "3"  # part of every cache key: raise it when what passes changes
REFUSED_FROM = 0.9  # injection score; below it findings are only recorded
SCREENED_CHARS = 100_000  # of a request, from its end: what is asked comes last


class Filter(Protocol):
    """A text filter that may hold back what it has not decided about yet."""

    def feed(self, text: str, /) -> str:
        """What can be shown by now, of ``text`` and what was held back before."""
        ...

    def flush(self, text: str = "", /) -> str:
        """All that can be shown; ``text`` is the end of it."""
        ...


def screen_input(text: str) -> list[Finding]:
    """Injection findings in what a client wrote; spans are offsets into it. Raises `HttpError` 503
    where that cannot be told."""
    offset = max(0, len(text) - SCREENED_CHARS)
    try:
        findings = find(text[offset:], ("injection",))
    except Exception as error:
        raise _unscreened("request") from error
    return [
        Finding(found.kind, found.start + offset, found.end + offset, found.score, found.rule)
        for found in findings
    ]


def refuse_if_certain(findings: Sequence[Finding]) -> None:
    """Raise `HttpError` 400 ``content_filter`` when the findings together leave no doubt."""
    if score(findings, "injection") >= REFUSED_FROM:
        rules = ", ".join(sorted({found.rule for found in findings}))
        raise HttpError(
            400,
            "content_filter",
            "The request was refused by the input screen.",
            f"It matches {rules}.",
            "Say it without instructions to the assistant itself.",
        )


def _unscreened(what: str) -> HttpError:
    log.exception("a detector failed")
    return HttpError(
        503, "screen_failed", f"The {what} cannot be looked through now.",
        "Nothing passes unscreened.", "Try again shortly.",
    )  # fmt: skip


Channel = Literal["text", "reasoning", "name", "arguments"]


class OutputScreen:
    """What an answer passes before it is shown. Each of its answers' texts, reasonings, names of
    tools and their arguments is a text of its own, masked as it goes; what is held back comes with
    the end. ``num_passages`` is None when nothing may be cited; ``is_json`` says that the texts are
    JSON, as arguments always are."""

    def __init__(
        self, kinds: Sequence[str], num_passages: int | None = None, is_json: bool = False
    ) -> None:
        self._kinds = tuple(kinds)
        self._num_passages = num_passages
        self._is_json = is_json
        self._first = self._filters_of("text")  # of what most answers are alone
        self._filters: dict[tuple[int, Channel, int], list[Filter]] = {(0, "text", 0): self._first}
        self._logs: dict[int, TokenLog] = {}

    def shown(self, piece: Piece) -> Piece:
        """``piece`` as far as it can be shown by now."""
        index, ends = piece.index, piece.finish_reason is not None
        if not (index or ends or self._logs or piece.tokens or piece.reasoning or piece.tools):
            text = piece.text
            for each in self._first:
                text = each.feed(text) if text else text
            return Piece(text, None, piece.usage)
        text = self._pass(index, "text", 0, piece.text, ends)
        screened = Piece(text, piece.finish_reason, piece.usage, index)
        if piece.tokens or index in self._logs:
            screened.tokens = self._logs.setdefault(index, TokenLog()).feed(piece.tokens, text)
        if piece.reasoning or (ends and (index, "reasoning", 0) in self._filters):
            screened.reasoning = self._pass(index, "reasoning", 0, piece.reasoning, ends)
        if piece.tools or (ends and (index, "arguments", 0) in self._filters):
            screened.tools = self._tools(index, piece.tools or [], ends) or None
        return screened

    def _tools(self, index: int, parts: list[ToolPiece], ends: bool) -> list[ToolPiece]:
        shown = []
        for part in parts:
            name = self._pass(index, "name", part.index, part.name, True) if part.name else ""
            arguments = self._pass(index, "arguments", part.index, part.arguments, False)
            shown.append(ToolPiece(part.index, part.id, name, arguments))
        if ends:
            for at, channel, number in list(self._filters):
                if at == index and channel == "arguments":
                    rest = self._pass(index, "arguments", number, "", True)
                    shown.append(ToolPiece(number, arguments=rest))
        return [part for part in shown if part.id or part.arguments]

    def _pass(self, index: int, channel: Channel, number: int, text: str, ends: bool) -> str:
        key = (index, channel, number)
        filters = self._filters.get(key)
        if filters is None:
            filters = self._filters[key] = self._filters_of(channel)
        for each in filters:
            if ends:
                text = each.flush(text)
            elif text:
                text = each.feed(text)
        return text

    def _filters_of(self, channel: Channel) -> list[Filter]:
        is_text = channel == "text"
        filters = output_filters(self._kinds, self._num_passages if is_text else None)
        is_json = channel == "arguments" or (is_text and self._is_json)
        return [JsonEscapes(), *filters] if is_json else filters

    @property
    def findings(self) -> list[Finding]:
        """What was masked, at its place in the text as it came from the engine."""
        return [
            found
            for filters in self._filters.values()
            for each in filters
            for found in getattr(each, "findings", ())
        ]


def output_filters(kinds: Sequence[str], num_passages: int | None) -> list[Filter]:
    """The filters a text passes, in order; ``num_passages`` is None when it cites nothing."""
    filters: list[Filter] = [StreamScreen(tuple(kinds))] if kinds else []
    if num_passages is not None:
        filters.append(CitationFilter(num_passages))
    return filters


async def screened(
    pieces: AsyncGenerator[Piece, None],
    screen: OutputScreen,
    done: Callable[[Sequence[Finding]], None],
) -> AsyncGenerator[Piece, None]:
    """``pieces`` as they may be shown; what was held back comes with the finish. ``done`` is told
    in the end what was masked. Raises `HttpError` 503 where what may be shown cannot be told."""
    async with aclosing(pieces):
        async for piece in pieces:
            try:
                shown = screen.shown(piece)
            except Exception as error:
                raise _unscreened("answer") from error
            if shown.says or shown.finish_reason or shown.usage:
                yield shown
    done(screen.findings)
