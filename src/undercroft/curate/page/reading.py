"""HTML -> blocks, in one walk over the tree that an HTML5 parser (lexbor) makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from undercroft.curate.page.blocks import Block, Element, Page, names_of
from undercroft.curate.page.markdown import code_of, formula, inline_code, is_data_table, table_of
from undercroft.curate.page.signs import SKIPPED, sign_of

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_CONTAINERS: Final = names_of(
    "div section article main header footer nav aside figure details dl ul ol menu form "
    "fieldset center table tbody thead tfoot tr td th blockquote hgroup address"
)
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_LEAVES: Final = {*_HEADINGS} | names_of("p li dt dd summary figcaption caption legend")
_CODE: Final = names_of("code tt kbd samp")
_WHOLE: Final = _CODE | {"pre", "math", "img"}
_LISTS: Final = names_of("ul ol menu")
#: Links to a heading beside it.
_ANCHORS: Final = names_of("headerlink anchor mark header-anchor hash-link anchorjs-link")
_UNSEEN: Final = names_of("sr-only visually-hidden screen-reader-text linenos lineno")
#: Deeper than this, what is left is taken as plain text.
_MOST_DEPTH: Final = 500
#: Text of this many characters reads as running text even without an end mark.
_LONG: Final = 80
_SHORT: Final = 25
_END_MARKS: Final = tuple(".!?:;…\u3002\uff01\uff1f\u061f\u0964")
_BREAK: Final = "\ue000"
_NAMELESS: Final = "-instruction"  # ``<?…>``, which the parser gives no name


def read(html: str) -> Page:
    """Take the page apart. Never raises: whatever was written, the parser makes a tree of it."""
    from selectolax.lexbor import LexborHTMLParser

    body = LexborHTMLParser(html).body
    walk = _Walk()
    if body is not None:
        walk.through(body)
    return walk.page


@dataclass(slots=True)
class _List:
    is_numbered: bool
    number: int = 0
    is_marked: bool = True  # the marker of the item is written

    @property
    def marker(self) -> str:
        return f"{self.number}. " if self.is_numbered else "- "


@dataclass
class _Walk:
    page: Page = field(default_factory=Page)
    element: int = 0
    words: list[str] = field(default_factory=list[str])
    links: int = 0  # how many characters of `words` are in links
    in_link: int = 0
    heading: int = 0
    quotes: int = 0
    lists: list[_List] = field(default_factory=list[_List])

    def through(self, body: LexborNode) -> None:
        """Visit everything below ``body``, without recursion: pages nest as deep as they like."""
        self.page.elements.append(Element(-1, "body"))
        outside: list[tuple[Any, str, int]] = []
        node: Any = body.first_child
        while node is not None or outside:
            if node is None:
                node, tag, before = outside.pop()
                self._leave(tag)
                self.element = before
            else:
                tag, before = node.tag or _NAMELESS, self.element
                if tag == "-text":
                    self._add(node.text_content)
                elif tag[0] != "-" and tag not in SKIPPED and self._enter(node, tag):
                    if len(outside) < _MOST_DEPTH and (child := node.first_child) is not None:
                        outside.append((node, tag, before))
                        node = child
                        continue
                    self._add(node.text() if len(outside) >= _MOST_DEPTH else "")
                    self._leave(tag)
                self.element = before
            node = node.next
        self._flush()

    def _add(self, text: str) -> None:
        self.words.append(text)
        if self.in_link:
            self.links += len(text.strip())

    def _enter(self, node: LexborNode, tag: str) -> bool:
        """Whether to go on with what is in ``node``; False where all of it is dealt with."""
        if tag in _CONTAINERS or tag in _LEAVES:
            return self._enter_block(node, tag)
        if tag in _WHOLE:
            self._take_whole(node, tag)
            return False
        if tag == "br":
            self.words.append(_BREAK)
        elif tag == "hr":
            self._flush()
        elif tag in ("a", "span"):
            unseen = _ANCHORS if tag == "a" else _UNSEEN
            if not unseen.isdisjoint((node.attributes.get("class") or "").split()):
                return False
            self.in_link += tag == "a"
        return True

    def _take_whole(self, node: LexborNode, tag: str) -> None:
        if tag == "pre":
            self._flush()
            self._block("pre", code_of(node), 0)
        elif tag in _CODE:
            self._add(inline_code(node, is_plain=bool(self.heading)))
        else:
            self._add(formula(node, tag))

    def _enter_block(self, node: LexborNode, tag: str) -> bool:
        self._flush()
        attributes = node.attributes
        sign = sign_of(tag, attributes) if tag not in _HEADINGS else 0.0
        if tag in _CONTAINERS or sign < 0:
            names = attributes.get("class") or ""
            self.page.elements.append(Element(self.element, tag, sign, names))
            self.element = len(self.page.elements) - 1
        if tag == "table" and is_data_table(node):
            text, links = table_of(node)
            self._block("table", text, links)
            return False
        if tag in _LISTS:
            self.lists.append(_List(tag == "ol"))
        elif tag == "li" and self.lists:
            self.lists[-1].number += 1
            self.lists[-1].is_marked = False
        elif tag == "blockquote":
            self.quotes += 1
        elif tag in _HEADINGS:
            self.heading = _HEADINGS[tag]
        return True

    def _leave(self, tag: str) -> None:
        if tag in _CONTAINERS or tag in _LEAVES:
            self._flush()
            if tag in _LISTS and self.lists:
                self.lists.pop()
            elif tag == "blockquote":
                self.quotes -= 1
            elif tag in _HEADINGS:
                self.heading = 0
        elif tag == "a":
            self.in_link -= 1

    def _flush(self) -> None:
        """Make a block of the words so far."""
        if not self.words:
            return
        text = " ".join("".join(self.words).split())
        links, self.links = self.links, 0
        self.words.clear()
        if _BREAK in text:
            lines = (line.strip() for line in text.split(_BREAK))
            text = "\n".join(lines).strip("\n")
        if text and text != "¶":
            self._block("h" if self.heading else "li" if self.lists else "p", text, links)

    def _block(self, kind: str, text: str, links: int) -> None:
        if not text.strip():
            return
        chars = len(text)
        element = self.page.elements[self.element]
        element.chars += chars
        element.links += min(links, chars)
        is_running = chars >= _LONG or (chars >= _SHORT and text.endswith(_END_MARKS))
        is_good = kind in ("pre", "table") or (kind != "h" and is_running)
        good = max(chars - links, 0) if is_good else 0
        element.good += good
        if kind == "h":
            text = f"{'#' * self.heading} {' '.join(text.split())}"
        text, is_tight = self._in_lists(text, kind)
        if self.quotes and kind != "pre":  # quotes are often but a way to indent code
            text = "\n".join(f"> {line}" for line in text.split("\n"))
        self.page.blocks.append(Block(self.element, kind, text, chars, links, good, is_tight))

    def _in_lists(self, text: str, kind: str) -> tuple[str, bool]:
        """``text`` behind the marker of its item or, further on in it, indented."""
        if not self.lists:
            return text, False
        before = "".join(" " * len(each.marker) for each in self.lists[:-1])
        inner = self.lists[-1]
        first = " " * len(inner.marker) if inner.is_marked else inner.marker
        is_tight = not inner.is_marked and kind == "li"
        inner.is_marked = True
        indented = text.replace("\n", f"\n{before}{' ' * len(inner.marker)}")
        return f"{before}{first}{indented}", is_tight
