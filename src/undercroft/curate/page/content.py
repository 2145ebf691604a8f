"""The main content among the blocks of a page.

First what is not content goes, by what its elements say of themselves, unless most of the text is
in it; then the innermost element that holds nearly all running text is found; then the lists of
links in it go. The idea that running text has few links and stands together is that of Kohlschütter
et al. (2010) and of Weninger et al. (2010); the thresholds were chosen on documentation and news.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from undercroft.curate.page.blocks import Block, Element, Page
from undercroft.curate.page.reading import read
from undercroft.curate.page.signs import SAID, SOFT

#: A child is entered if it holds all running text but this share of it, …
_REST_SHARE: Final = 0.05
_REST_CHARS: Final = 60
#: … or but this share where it says itself that it is the content.
_REST_SHARE_SIGNED: Final = 0.4
#: Elements with more of their text in links are lists of links.
_LINKED: Final = 0.55
#: With less running text than this, a page is one of links.
_LEAST_CHARS: Final = 100
_UNLINKED: Final = 0.15
_FEW_CHARS: Final = 250


@dataclass(frozen=True, slots=True)
class Content:
    """The main content as Markdown; ``confidence`` is 0 to 1 that it is all of it, and no more."""

    text: str
    confidence: float


def content_of(html: str) -> Content:
    """The main content of the page."""
    page = read(html)
    elements = page.elements
    _remove_by_sign(elements, _summed(elements))
    _count_anew(page)
    total = elements[0].good
    start = _said(elements)
    root = _root(elements, start)
    is_index = elements[root].good < _LEAST_CHARS or elements[root].link_density > _LINKED
    if is_index:
        for element in elements:
            element.good = element.chars
        root = _root(elements, start)
    inside = _within(elements, root)
    has_code = any(block.kind == "pre" and inside[block.element] for block in page.blocks)
    if not (is_index or start or has_code):
        _remove_links(elements, inside, root)
    kept = [b for b in page.blocks if inside[b.element] and not elements[b.element].is_removed]
    text = _joined(_title(page, kept) + kept)
    return Content(text, _confidence(kept, total))


def _summed(elements: list[Element]) -> int:
    """Add to every element what lies in elements within it; the running text of the page."""
    for element in reversed(elements[1:]):
        outer = elements[element.parent]
        outer.chars += element.chars
        outer.links += element.links
        outer.good += element.good
    return elements[0].good if elements else 0


def _remove_by_sign(elements: list[Element], total: int) -> None:
    """Remove what says of itself that it is not the content.

    Unless much of the text is in it, or in all that are named like it, or it is running text, or
    what is said to be the content lies in it.
    """
    alike: Counter[tuple[str, str]] = Counter()
    for element in elements:
        if element.sign < 0:
            alike[element.tag, element.names] += element.good
    has_said = [element.sign >= SAID for element in elements]
    for number in range(len(elements) - 1, 0, -1):
        has_said[elements[number].parent] |= has_said[number]
    for number, element in enumerate(elements[1:], 1):
        is_removed = False
        if element.sign < 0:
            good = max(alike[element.tag, element.names] if element.names else 0, element.good)
            is_running = element.good > _FEW_CHARS and element.link_density < _UNLINKED
            is_believed = element.sign != SOFT or not is_running
            is_few = not has_said[number] and good <= max(abs(element.sign) * total, _FEW_CHARS)
            is_removed = is_few and is_believed
        element.is_removed = is_removed or elements[element.parent].is_removed


def _count_anew(page: Page) -> None:
    """Count again without what was removed."""
    for element in page.elements:
        element.chars = element.links = element.good = 0
    for block in page.blocks:
        element = page.elements[block.element]
        if not element.is_removed:
            element.chars += block.chars
            element.links += min(block.links, block.chars)
            element.good += block.good
    _summed(page.elements)


def _said(elements: list[Element]) -> int:
    """The one element that is said to be the content, or the body."""
    said = [
        number
        for number, element in enumerate(elements)
        if element.sign >= SAID and not element.is_removed and elements[element.parent].sign < SAID
    ]
    if len(said) != 1:
        return 0
    has_most = elements[said[0]].good >= (1 - _REST_SHARE_SIGNED) * elements[0].good
    return said[0] if has_most and elements[said[0]].chars >= _LEAST_CHARS else 0


def _root(elements: list[Element], start: int) -> int:
    """The innermost element within ``start`` that holds nearly all running text."""
    children: dict[int, list[int]] = {}
    for number, element in enumerate(elements[1:], 1):
        if not element.is_removed and element.good:
            children.setdefault(element.parent, []).append(number)
    root = start
    while inner := children.get(root):
        best = max(inner, key=lambda number: elements[number].good)
        rest = elements[root].good - elements[best].good
        is_said = elements[best].sign > 0 and sum(elements[n].sign > 0 for n in inner) == 1
        share = _REST_SHARE_SIGNED if is_said else _REST_SHARE
        least = 0 if start else _REST_CHARS
        if rest > max(share * elements[root].good, least):
            break
        root = best
    return root


def _within(elements: list[Element], root: int) -> list[bool]:
    inside = [False] * len(elements)
    inside[root] = True
    for number, element in enumerate(elements):
        if number > root:
            inside[number] = inside[element.parent]
    return inside


def _remove_links(elements: list[Element], inside: list[bool], root: int) -> None:
    """Take lists of links out, unless the page is one."""
    content = elements[root]
    if content.link_density > _LINKED:
        return
    for number, element in enumerate(elements):
        if number > root and inside[number]:
            is_list = element.link_density > _LINKED and element.good < _FEW_CHARS
            element.is_removed |= is_list or elements[element.parent].is_removed


def _title(page: Page, kept: list[Block]) -> list[Block]:
    """The main heading, where it stands before what is kept."""
    if not kept or any(block.text.startswith("# ") for block in kept):
        return []
    before = page.blocks[: page.blocks.index(kept[0])]
    titles = (
        b for b in before if b.text.startswith("# ") and not page.elements[b.element].is_removed
    )
    return list(titles)[-1:]


def _joined(blocks: list[Block]) -> str:
    parts: list[str] = []
    before = ""
    for block in blocks:
        if parts:
            parts.append("\n" if block.is_tight and before == "li" else "\n\n")
        parts.append(block.text)
        before = block.kind
    return "".join(parts)


def _confidence(kept: list[Block], total: int) -> float:
    """The share of the running text, less what says that it is not content, that was kept."""
    if not total:
        return 1.0 if kept else 0.0
    return min(1.0, sum(block.good for block in kept) / total)
