"""Answers, sources and documents as text: code set as code, citations as links, masks marked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from undercroft.console import figures
from undercroft.console.markup import Child, Markup, h
from undercroft.console.views.documents import Source

_FENCE = re.compile(r"^```[^\n]*\n(.*?)(?:^```[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
# As in `retrieve.prompt.citations`: `list[1]` and `f(x)[0][1]` are code, not citations.
_INLINE = re.compile(
    r"`(?P<code>[^`\n]+)`|(?<![\w\])])(?P<cites>(?:\[\d{1,2}(?:\s*,\s*\d{1,2})*\])+)"
)


def answer(text: str, anchor: str = "source", num_sources: int = 0) -> Markup:
    """An answer's text; ``[2]`` becomes a link to ``#<anchor>-2`` where there is such a source."""
    parts: list[Child] = []
    position = 0
    for fence in _FENCE.finditer(text):
        parts.append(_paragraphs(text[position : fence.start()], anchor, num_sources))
        parts.append(h("pre", h("code", fence[1].rstrip("\n"))))
        position = fence.end()
    parts.append(_paragraphs(text[position:], anchor, num_sources))
    return h("div", parts, class_="prose")


def _paragraphs(text: str, anchor: str, num_sources: int) -> list[Markup]:
    blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip()]
    return [h("p", _inline(block.strip("\n"), anchor, num_sources)) for block in blocks]


def _inline(text: str, anchor: str, num_sources: int) -> list[Child]:
    parts: list[Child] = []
    position = 0
    for match in _INLINE.finditer(text):
        parts += _lines(text[position : match.start()])
        if match["code"]:
            parts.append(h("code", match["code"]))
        else:
            numbers = map(int, re.findall(r"\d+", match["cites"]))
            parts += [_cite(number, anchor, num_sources) for number in numbers]
        position = match.end()
    return [*parts, *_lines(text[position:])]


def _cite(number: int, anchor: str, num_sources: int) -> Child:
    if not 1 <= number <= num_sources:
        return f"[{number}]"
    label = f"Source {number}"
    return h("a", number, href=f"#{anchor}-{number}", class_="cite", aria_label=label)


def _lines(text: str) -> Sequence[Child]:
    return [part for line in text.split("\n") for part in (line, h("br"))][:-1]


def sources(shown: Sequence[Source], anchor: str = "source") -> Markup:
    """The passages beside an answer, each with the way to its document."""
    return h("ol", [_source(source, anchor) for source in shown], class_="sources")


def _source(source: Source, anchor: str) -> Markup:
    link = f"/documents/{source.document}?start={source.start}&end={source.end}"
    span = f"characters {figures.count(source.start)}–{figures.count(source.end)}"
    return h(
        "li",
        h(
            "header",
            h("span", source.number, class_="cite"),
            h("a", source.title or source.uri, href=link),
        ),
        h("blockquote", source.text.strip()) if source.text else None,
        h("footer", source.uri, " · ", span, " · cited" if source.cited else None),
        class_="source cited" if source.cited else "source",
        id=f"{anchor}-{source.number}",
    )


def marked(text: str, start: int, end: int) -> list[Child]:
    """``text`` with the characters from ``start`` to ``end`` marked and able to be linked to."""
    if not 0 <= start < end <= len(text):
        return [text]
    return [text[:start], h("mark", text[start:end], id="passage"), text[end:]]
