"""What a page is taken apart into: blocks of Markdown, and the elements that they lie in."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Element:
    """One element of the page that may hold blocks.

    ``links`` of its ``chars`` characters are in links; ``good`` are those of running text, code
    and tables, less the links in them. All three count what lies in elements within it.
    """

    parent: int
    tag: str
    sign: float = 0.0  # over 0: it says that it is the content; below: that it is not
    names: str = ""  # its classes
    chars: int = 0
    links: int = 0
    good: int = 0
    is_removed: bool = False

    @property
    def link_density(self) -> float:
        return self.links / self.chars if self.chars else 0.0


@dataclass(slots=True)
class Block:
    """One paragraph, heading, list item, table or piece of code, as Markdown."""

    element: int
    kind: str  # p | h | li | pre | table
    text: str
    chars: int
    links: int
    good: int
    is_tight: bool = False  # follows the block before it without a blank line


@dataclass
class Page:
    """A page taken apart; ``elements[0]`` is its body, and parents come before children."""

    elements: list[Element] = field(default_factory=list[Element])
    blocks: list[Block] = field(default_factory=list[Block])


def names_of(text: str) -> frozenset[str]:
    """The words of ``text``: the names of tags, classes or the like."""
    return frozenset(text.split())
