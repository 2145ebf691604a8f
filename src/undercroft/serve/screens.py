"""What may come in and what may go out.

The input is looked through for injection patterns: all are recorded, and a request whose worst
finding is all but certain is refused. The output is masked as it streams: text is held back until
no personal datum or secret can begin in it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from undercroft.detect import StreamScreen, find, score
from undercroft.records import Finding
from undercroft.serve.citations import CitationFilter
from undercroft.serve.failures import HttpError
from undercroft.serve.upstream import Piece

VERSION = "1"  # part of every cache key: raise it when what passes changes
REFUSED_FROM = 0.9  # injection score; below it findings are only recorded
SCREENED_CHARS = 100_000  # of a request, from its end: what is asked comes last


class Filter(Protocol):
    """A text filter that may hold back what it has not decided about yet."""

    def feed(self, text: str, /) -> str: ...
    def flush(self) -> str: ...


def screen_input(text: str) -> list[Finding]:
    """Injection findings in what a client wrote; spans are offsets into it."""
    offset = max(0, len(text) - SCREENED_CHARS)
    return [
        Finding(found.kind, found.start + offset, found.end + offset, found.score, found.rule)
        for found in find(text[offset:], ("injection",))
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


def output_filters(kinds: Sequence[str], num_passages: int | None) -> list[Filter]:
    """The filters an answer passes, in order; ``num_passages`` is None when it cites nothing."""
    filters: list[Filter] = [StreamScreen(tuple(kinds))] if kinds else []
    if num_passages is not None:
        filters.append(CitationFilter(num_passages))
    return filters


async def screened(
    pieces: AsyncGenerator[Piece, None], filters: Sequence[Filter]
) -> AsyncGenerator[Piece, None]:
    """``pieces`` with their text filtered; what was held back comes before the finish."""
    async with aclosing(pieces):
        async for piece in pieces:
            text = piece.text
            for each in filters:
                text = each.feed(text) if text else text
                if piece.finish_reason:
                    text += each.flush()
            if text or piece.finish_reason or piece.usage:
                yield Piece(text, piece.finish_reason, piece.usage)


def found_by(filters: Sequence[Filter]) -> list[Finding]:
    """What the filters masked, at its place in the text as it came from the engine."""
    return [found for each in filters for found in getattr(each, "findings", ())]
