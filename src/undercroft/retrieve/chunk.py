"""Documents cut into passages that can be read on their own.

A chunk ends where the text itself does: at a heading if it can, else between paragraphs and code
blocks, else between sentences or lines of code, and inside one only when a single sentence is
longer than a chunk. The chunks of a long section are made about equally long.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from undercroft.errors import BadInput
from undercroft.retrieve.structure import Block, Heading, outline, sentences

#: A section shorter than this share of a chunk goes together with the one after it.
_TINY = 0.25
_HEADING_CHARS = 160


@dataclass(frozen=True, slots=True)
class Chunk:
    """``text[start:end]`` and the titles of the headings it stands under, outermost first."""

    start: int
    end: int
    heading: str


Span = tuple[int, int]


def split(text: str, chunk_chars: int, overlap: int = 0) -> list[Chunk]:
    """Cut ``text`` into chunks of at most ``chunk_chars`` characters, in order.

    Together they hold every character of the text that is not blank. With ``overlap`` each chunk
    but the first reaches back by up to that many characters, so that it may be longer by them.
    """
    if chunk_chars < 1 or overlap < 0:
        raise BadInput(
            f"Chunks of {chunk_chars} characters with an overlap of {overlap} cannot be made.",
            do="Set index.chunk_chars to 200 or more.",
        )
    chunks: list[Chunk] = []
    for heading, pieces in _joined(list(_sections(text, chunk_chars)), chunk_chars):
        chunks += [
            Chunk(start, end, heading)
            for start, end in (_trimmed(text, *span) for span in _packed(pieces, chunk_chars))
            if start < end
        ]
    return _overlapped(text, chunks, overlap) if overlap else chunks


def _sections(text: str, chunk_chars: int) -> Iterator[tuple[str, list[Span]]]:
    """Every heading with the spans below it, cut to size; before the first heading, none."""
    headings, blocks = outline(text)
    begins = [0, *(heading.start for heading in headings), len(text) + 1]
    above: list[Heading] = []
    block_at = 0
    for number in range(len(begins) - 1):
        pieces: list[Span] = []
        if number:
            head = headings[number - 1]
            above = [outer for outer in above if outer.level < head.level] + [head]
            pieces += _cut(text, Block(head.start, head.end), chunk_chars)
        while block_at < len(blocks) and blocks[block_at].start < begins[number + 1]:
            pieces += _cut(text, blocks[block_at], chunk_chars)
            block_at += 1
        if pieces:
            yield " > ".join(heading.title for heading in above)[-_HEADING_CHARS:], pieces


def _joined(
    sections: list[tuple[str, list[Span]]], chunk_chars: int
) -> Iterator[tuple[str, list[Span]]]:
    """Sections, the tiny ones put together with the next while both fit one chunk."""
    pending: tuple[str, list[Span]] | None = None
    for heading, pieces in sections:
        if pending is not None:
            length = pieces[-1][1] - pending[1][0][0]
            tiny = pending[1][-1][1] - pending[1][0][0] < chunk_chars * _TINY
            if tiny and length <= chunk_chars:
                pending = (_both(pending[0], heading), pending[1] + pieces)
                continue
            yield pending
        pending = (heading, pieces)
    if pending is not None:
        yield pending


def _both(first: str, second: str) -> str:
    """The heading of two sections put together: the inner one, or both when neither is inside."""
    if not first or second.startswith(first):
        return second
    return f"{first}; {second}"[:_HEADING_CHARS]


def _cut(text: str, block: Block, chunk_chars: int) -> list[Span]:
    """``block`` in spans that fit a chunk: whole, by sentence or line, or by the character."""
    if block.end - block.start <= chunk_chars:
        return [(block.start, block.end)]
    parts = _lines(text, block) if block.code else list(sentences(text, block.start, block.end))
    return [span for part in parts for span in _forced(text, *part, chunk_chars)]


def _lines(text: str, block: Block) -> list[Span]:
    spans: list[Span] = []
    start = block.start
    while start < block.end:
        newline = text.find("\n", start, block.end)
        end = block.end if newline < 0 else newline + 1
        spans.append((start, end))
        start = end
    return spans


def _forced(text: str, start: int, end: int, chunk_chars: int) -> Iterator[Span]:
    """Cut what has no end in reach: after a blank if there is one, else anywhere."""
    while end - start > chunk_chars:
        reach = start + chunk_chars
        at = max(text.rfind(blank, start + 1, reach) for blank in (" ", "\n"))
        at = at + 1 if at > start else reach
        yield start, at
        start = at
    yield start, end


def _packed(pieces: list[Span], chunk_chars: int) -> Iterator[Span]:
    """Neighbouring ``pieces`` put together into spans of at most ``chunk_chars``, evenly."""
    start, end = pieces[0]
    total = pieces[-1][1] - start
    aim = total / math.ceil(total / chunk_chars)
    for piece_start, piece_end in pieces[1:]:
        longer = piece_end - start
        if longer > chunk_chars or (longer + end - start) / 2 > aim:
            yield start, end
            start = piece_start
        end = piece_end
    yield start, end


def _trimmed(text: str, start: int, end: int) -> Span:
    """Without blank lines before and blanks after; the first line keeps its indentation."""
    body = text[start:end]
    lead = len(body) - len(body.lstrip())
    newline = body.rfind("\n", 0, lead)
    return start + newline + 1, start + len(body.rstrip())


def _overlapped(text: str, chunks: list[Chunk], overlap: int) -> list[Chunk]:
    """Each chunk begun earlier by up to ``overlap`` characters, at a word, where they touch."""
    reaching = chunks[:1]
    for before, chunk in itertools.pairwise(chunks):
        earliest = max(before.start + 1, chunk.start - overlap)
        blank = min(
            (at for b in " \n" if (at := text.find(b, earliest - 1, chunk.start)) >= 0),
            default=chunk.start - 1,
        )
        start, _ = _trimmed(text, blank + 1, chunk.end)
        reaching.append(Chunk(max(start, before.start + 1), chunk.end, chunk.heading))
    return reaching
