"""What a plain text, Markdown or docstring document is made of: sections, blocks, sentences.

Every part is a span ``[start, end)`` of characters of the document's text, so that whatever is
made from it can point back to its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the prose under it, up to the next heading.

    ``heading`` is empty before the first heading. ``is_signature`` marks a heading that is the
    signature of a function or class, as in API documentation. ``blocks`` are paragraphs and list
    items; ``opens_with_prose`` says whether the first of them comes right after the heading.
    """

    heading: str
    is_signature: bool
    blocks: tuple[tuple[int, int], ...]
    opens_with_prose: bool


_ATX = re.compile(r"#{1,6}\s+(?P<heading>.+?)\s*#*$")
_UNDERLINE = re.compile(r"([=\-*~^\"+#`])\1{2,}$")
_SIGNATURE = re.compile(
    r"(?:(?:async def |async |def |static |class ?method )?"
    r"(?P<name>[A-Za-z_][\w.]*)\((?P<arguments>[^()]*(?:\([^()]*\)[^()]*)*)\)(?:\s*->\s*[^:]+)?:?"
    r"|class (?P<kind>[A-Za-z_][\w.]*)(?:\(.*\))?:?"
    r"|(?P<attribute>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+))$"
)
_FENCE = re.compile(r"(?:```|~~~)")
_ITEM = re.compile(r"(?:[*+•-]|\d{1,2}[.)]|[a-z]\))\s+")
_CODE = re.compile(r">>>|\.\.\. |\$ |::=|[{};]\s*$")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|cf|vs|Mr|Mrs|Ms|Dr|St|No|Fig|Inc|Ltd|approx)\.$")
_SENTENCE_END = re.compile(r"[.!?][\"'\u201d\u2019)\]*_`]*(?=\s)")
OPENERS = "\"'\u201c\u2018(`*_["  # may stand before a sentence's first word
CLOSERS = "\"'\u201d\u2019)]*_`"  # may stand after its last


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    text: str  # without surrounding space
    indent: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def sections(text: str) -> list[Section]:
    """Cut ``text`` at its headings: Markdown ``#``, underlined titles, and lone signatures."""
    lines = list(_lines(text))
    found: list[Section] = []
    heading, signature = "", False
    body: list[_Line] = []
    fenced = False
    skip = 0
    for number, line in enumerate(lines):
        if skip:
            skip -= 1
            continue
        if _FENCE.match(line.text):
            fenced = not fenced
        name, taken = ("", 0) if fenced else _heading_at(lines, number)
        if not taken:
            body.append(line)
            continue
        found.append(_section(heading, signature, body))
        heading, signature = name, bool(_SIGNATURE.match(name))
        body, skip = [], taken - 1
    found.append(_section(heading, signature, body))
    return [section for section in found if section.heading or section.blocks]


def signature_name(heading: str) -> str:
    """What a question calls the bearer of a signature; ``""`` when ``heading`` is none.

    ``json.dumps(obj, *, indent=None)`` is ``json.dumps()``; classes and attributes go by name.
    """
    match = _SIGNATURE.match(heading)
    if match is None:
        return ""
    name: str = match["name"] or match["kind"] or match["attribute"]
    is_call = match["name"] is not None and not name.rpartition(".")[2][:1].isupper()
    return f"{name}()" if is_call else name


def sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Spans of the sentences of the block ``text[start:end]``, trimmed of space."""
    block = text[start:end]
    spans: list[tuple[int, int]] = []
    at = 0
    for match in _SENTENCE_END.finditer(block):
        rest = block[match.end() :].lstrip()
        opener = rest.lstrip(OPENERS)[:1]
        if (opener and not (opener.isupper() or opener.isdigit())) or _ABBREVIATION.search(
            block[: match.start() + 1]
        ):
            continue
        spans.append((at, match.end()))
        at = match.end()
    spans.append((at, len(block)))
    return [
        (start + low + _leading_space(block[low:high]), start + low + len(block[low:high].rstrip()))
        for low, high in spans
        if block[low:high].strip()
    ]


def words_of(text: str) -> str:
    """``text`` with every run of white space made one space, as a reader sees wrapped lines."""
    return " ".join(text.split())


def _lines(text: str) -> Iterator[_Line]:
    at = 0
    for raw in text.splitlines(keepends=True):
        stripped = raw.strip()
        indent = _leading_space(raw) if stripped else 0
        yield _Line(at + indent, stripped, indent)
        at += len(raw)


def _leading_space(text: str) -> int:
    return len(text) - len(text.lstrip())


def _heading_at(lines: list[_Line], number: int) -> tuple[str, int]:
    """The heading that starts at line ``number`` and how many lines it takes; ``("", 0)``: none."""
    line = lines[number]
    atx = _ATX.match(line.text)
    if atx and line.indent < 4:
        return _plain(atx["heading"]), 1
    below = lines[number + 1] if number + 1 < len(lines) else None
    above = lines[number - 1].text if number else ""
    if not line.text or above:
        return "", 0
    underlined = below is not None and _UNDERLINE.match(below.text)
    if underlined and below and len(line.text) <= 120 and not _UNDERLINE.match(line.text):
        if len(below.text) >= 0.6 * len(line.text):
            return _plain(line.text), 2
        return "", 0
    followed = any(later.text for later in lines[number + 1 : number + 3])
    if followed and len(line.text) <= 300 and "(" in line.text and _SIGNATURE.match(line.text):
        return line.text.rstrip(":"), 1
    return "", 0


def _plain(heading: str) -> str:
    """A heading without Markdown marks around it."""
    return words_of(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)).strip("*_` ")


def _section(heading: str, signature: bool, body: list[_Line]) -> Section:
    blocks = tuple(_blocks(body))
    first = next((line.start for line in body if line.text), None)
    return Section(heading, signature, blocks, bool(blocks) and blocks[0][0] == first)


def _blocks(lines: list[_Line]) -> Iterator[tuple[int, int]]:
    """Paragraphs and list items of prose; code, tables and fenced text are left out."""
    block: list[_Line] = []
    fenced = False
    for line in [*lines, _Line(0, "", 0)]:
        fence = bool(_FENCE.match(line.text))
        item = _ITEM.match(line.text)
        if block and (not line.text or fence or item):
            if _is_prose(block):
                yield block[0].start, block[-1].end
            block = []
        if fence:
            fenced = not fenced
        elif line.text and not fenced:
            marker = item.end() if item else 0
            block.append(_Line(line.start + marker, line.text[marker:], line.indent))


def _is_prose(block: list[_Line]) -> bool:
    joined = " ".join(line.text for line in block)
    if _CODE.search(joined) or joined.count("|") > 2:
        return False
    letters = sum(character.isalpha() or character.isspace() for character in joined)
    return len(joined.split()) >= 4 and letters >= 0.75 * len(joined)
