"""What a plain text is made of: headings, paragraphs, code blocks, sentences.

Headings are those that people write in plain text: Markdown's ``#``, a line underlined with
punctuation (reStructuredText, pydoc) and a line in capitals (manual pages).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")
_HASHES = re.compile(r"(#{1,6})[ \t]+(\S.*?)[ \t]*#*\s*\Z")
_UNDERLINE = re.compile(r"([=\-~^\"'*+#`:._])\1{2,}\s*\Z")
_CAPITALS = re.compile(r"[A-Z][A-Z0-9 _/&,'()-]{2,59}\s*\Z")
_FENCE = re.compile(r"[ ]{0,3}(```+|~~~+)")
# A full stop, its closing quotes or brackets, and then something that begins a sentence.
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=[A-Z0-9\"'(\[`“])|[\u3002\uff01\uff1f]\s*")
_MAX_TITLE = 120

_UNDERLINE_LEVEL = 10  # below every # heading; each new kind of underline is one deeper
_CAPITALS_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading whose lines are ``text[start:end]``; a smaller level stands higher."""

    start: int
    end: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Block:
    """A run of lines ``text[start:end]`` that belong together: a paragraph or a code block."""

    start: int
    end: int
    code: bool = False


def outline(text: str) -> tuple[list[Heading], list[Block]]:
    """The headings of ``text`` and the blocks between them, each in order."""
    lines = [(match.start(), match.end()) for match in _LINE.finditer(text)]
    headings: list[Heading] = []
    blocks: list[Block] = []
    underlines: list[str] = []
    at = 0
    while at < len(lines):
        heading = _heading(text, lines, at, underlines)
        if heading is not None:
            headings.append(heading)
            at = _line_after(lines, at, heading.end)
            continue
        block = _fenced(text, lines, at) or _run(text, lines, at, underlines)
        if block is None:  # a blank line
            at += 1
            continue
        blocks.append(block)
        at = _line_after(lines, at, block.end)
    return headings, blocks


def sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of the sentences in ``text[start:end]``; together they are all of it."""
    begun = start
    for match in _SENTENCE_END.finditer(text, start, end):
        yield begun, match.end()
        begun = match.end()
    if begun < end:
        yield begun, end


def _line_after(lines: list[tuple[int, int]], at: int, end: int) -> int:
    while at < len(lines) and lines[at][0] < end:
        at += 1
    return at


def _is_blank(text: str, line: tuple[int, int]) -> bool:
    return not text[line[0] : line[1]].strip()


def _heading(
    text: str, lines: list[tuple[int, int]], at: int, underlines: list[str]
) -> Heading | None:
    start, end = lines[at]
    line = text[start:end]
    if not line.strip() or line[0] in " \t" or len(line) > _MAX_TITLE:
        return None
    if match := _HASHES.match(line):
        return Heading(start, end, len(match[1]), match[2])
    if _UNDERLINE.match(line):
        return _overlined(text, lines, at, underlines)
    if at > 0 and not _is_blank(text, lines[at - 1]) and not _ends_heading(text, lines[at - 1]):
        return None
    under = _UNDERLINE.match(text[slice(*lines[at + 1])]) if at + 1 < len(lines) else None
    if under and len(under[0].strip()) * 2 >= len(line.strip()):
        return _underlined(start, lines[at + 1][1], line, under[1], underlines)
    capitals = _CAPITALS.match(line)
    return Heading(start, end, _CAPITALS_LEVEL, line.strip()) if capitals else None


def _overlined(
    text: str, lines: list[tuple[int, int]], at: int, underlines: list[str]
) -> Heading | None:
    """A title between two lines of punctuation, the first of which is line ``at``."""
    if at + 2 >= len(lines) or not _UNDERLINE.match(text[slice(*lines[at + 2])]):
        return None
    title = text[slice(*lines[at + 1])]
    kind = text[lines[at][0]] * 2  # told apart from the same mark below the title only
    if not title.strip() or len(title) > _MAX_TITLE:
        return None
    return _underlined(lines[at][0], lines[at + 2][1], title, kind, underlines)


def _ends_heading(text: str, line: tuple[int, int]) -> bool:
    before = text[slice(*line)]
    return bool(_UNDERLINE.match(before) or _HASHES.match(before))


def _underlined(start: int, end: int, title: str, kind: str, underlines: list[str]) -> Heading:
    """A kind of underline is a level deeper than those seen before it (reStructuredText)."""
    if kind not in underlines:
        underlines.append(kind)
    return Heading(start, end, _UNDERLINE_LEVEL + underlines.index(kind), title.strip())


def _fenced(text: str, lines: list[tuple[int, int]], at: int) -> Block | None:
    opened = _FENCE.match(text, *lines[at])
    if not opened:
        return None
    for start, end in lines[at + 1 :]:
        closed = _FENCE.match(text, start, end)
        if closed and closed[1].startswith(opened[1]):
            return Block(lines[at][0], end, code=True)
    return Block(lines[at][0], lines[-1][1], code=True)


def _run(text: str, lines: list[tuple[int, int]], at: int, underlines: list[str]) -> Block | None:
    """Lines up to the next blank one, heading or fence; indented runs are taken for code."""
    if _is_blank(text, lines[at]):
        return None
    last = at
    while last + 1 < len(lines) and not (
        _is_blank(text, lines[last + 1])
        or _FENCE.match(text, *lines[last + 1])
        or _heading(text, lines, last + 1, list(underlines))
    ):
        last += 1
    first = text[slice(*lines[at])]
    code = first.startswith(("    ", "\t", ">>>")) or first.lstrip().startswith(">>>")
    return Block(lines[at][0], lines[last][1], code)
