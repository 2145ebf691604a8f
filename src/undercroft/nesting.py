"""HTML that nests without end -> HTML that a parser gets through.

What HTML5 asks of a parser takes time in proportion to the depth for every tag, and opens every
unclosed ``<b>`` anew in each paragraph: a page of half a megabyte can take minutes, or all memory.
Browsers stop at a depth of 512.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

MOST_DEPTH: Final = 500
#: Unclosed elements that are opened again in every paragraph.
MOST_FORMATTING: Final = 16
_MUCH_DEPTH: Final = 100
#: A page with fewer tags cannot do harm, and nearly none has more.
_FEW_TAGS: Final = 3_000


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TAG: Final = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)[^>]*>?")
_FORMATTING: Final = _names("a b big code em font i nobr s small strike strong tt u")
#: Elements without an end, or whose end may be left out since the next one ends them.
_UNCOUNTED: Final = _names(
    """area base br col embed hr img input link meta param source track wbr p li dt dd tr td th
    option optgroup thead tbody tfoot colgroup html head body rp rt"""
)
#: Elements of SVG and MathML, which a slash closes.
_CLOSED_BY_SLASH: Final = _names(
    """path g circle rect use line polygon polyline ellipse stop lineargradient radialgradient
    image animate animatetransform symbol defs text tspan mask pattern filter mspace mprescripts
    none feblend fecolormatrix fecomposite feflood fegaussianblur femerge femergenode feoffset"""
)


def flattened(html: str) -> str:
    """``html`` without the tags that lie deeper than `MOST_DEPTH`; their text stays."""
    if html.count("<") <= _FEW_TAGS:
        return html
    kept: list[str] = []
    done = 0
    for start, end in _too_deep(html):
        kept += (html[done:start], " ")
        done = end
    return "".join((*kept, html[done:])) if done else html


def _too_deep(html: str) -> Iterator[tuple[int, int]]:
    """Where the tags are that go too deep, and those that end them."""
    opened, dropped = Counter[str](), Counter[str]()
    depth = formatting = 0
    for tag in _TAG.finditer(html):
        name = tag[2].lower()
        is_formatting = name in _FORMATTING
        if name in _UNCOUNTED or (name in _CLOSED_BY_SLASH and tag[0].endswith("/>")):
            continue
        if not tag[1]:
            if depth >= MOST_DEPTH or (is_formatting and formatting >= MOST_FORMATTING):
                dropped[name] += 1
                yield tag.span()
            else:
                opened[name] += 1
                depth += 1
                formatting += is_formatting
        elif dropped[name]:
            dropped[name] -= 1
            yield tag.span()
        elif opened[name]:
            opened[name] -= 1
            depth -= 1
            formatting -= is_formatting
        elif depth > _MUCH_DEPTH:  # it ends nothing; a parser would look for long what it could
            yield tag.span()
