"""Code, tables and formulas of a page -> Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from undercroft.curate.page.blocks import names_of

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_LANGUAGE: Final = re.compile(
    r"(?:^|\s)(?:language|lang|highlight-source|highlight|brush:?|sourceCode)[-\s:]+([\w+#-]+)"
)
_NO_LANGUAGE: Final = names_of("default none text plain notranslate highlight source code")
_NUMBERS: Final = ".linenos, .lineno, .linenumber, .line-number, .gutter, .ln, .copybtn, button"
_LAYOUT: Final = "table, h1, h2, h3, form, article, section, nav"
_BLOCKS: Final = "p, br, li, div, pre, dd"
_MOST_COLUMNS: Final = 60
_LONG_CELL: Final = 400


def code_of(node: LexborNode) -> str:
    """A ``pre`` as a fenced block, without line numbers."""
    for number in node.css(_NUMBERS):
        number.decompose()
    for line_end in node.css("br"):
        line_end.replace_with("\n")
    text = (node.text() or "").replace("\r\n", "\n").replace("\xa0", " ")
    text = "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
    if not text.strip():
        return ""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{_language(node)}\n{text}\n{fence}"


def _language(node: LexborNode) -> str:
    """The language that the code, or one of the elements around it, is said to be in."""
    inner = node.css_first("code")
    parent = node.parent
    around = (inner, node, parent, parent.parent if parent is not None else None)
    for each in around:
        match = _LANGUAGE.search((each.attributes.get("class") or "") if each is not None else "")
        if match and match[1].lower() not in _NO_LANGUAGE:
            return match[1].lower()
    return ""


def inline_code(node: LexborNode, *, is_plain: bool) -> str:
    text = node.text() or ""
    if is_plain or not text.strip() or "`" in text:
        return text
    return f"`{' '.join(text.split())}`"


def formula(node: LexborNode, tag: str) -> str:
    """The TeX of a formula where it is told; nothing of other pictures."""
    if tag == "img":
        is_formula = "math" in (node.attributes.get("class") or "")
        return (node.attributes.get("alt") or "") if is_formula else ""
    told = node.css_first('annotation[encoding="application/x-tex"]')
    return f"${told.text(strip=True)}$" if told is not None else node.text(separator=" ")


def is_data_table(node: LexborNode) -> bool:
    """Whether the table holds data; many pages are laid out in tables."""
    has_layout = any(child.css_first(_LAYOUT) is not None for child in node.iter())
    if has_layout or node.attributes.get("role") == "presentation":
        return False
    rows = node.css("tr")
    cells = [row.css("td, th") for row in rows[:3]]
    if len(rows) < 2 or max(map(len, cells)) < 2 or max(map(len, cells)) > _MOST_COLUMNS:
        return False
    if node.css_first("th") is not None:
        return True
    if node.css_first("pre") is not None:
        return False
    return all(len(cell.text()) < _LONG_CELL for row in cells for cell in row)


def table_of(node: LexborNode) -> tuple[str, int]:
    """A data table in Markdown's pipes, and how many of its characters are in links."""
    rows = [[_cell(cell) for cell in row.css("td, th")] for row in node.css("tr")]
    rows = [row for row in rows if any(row)]
    if not rows:
        return "", 0
    width = min(max(map(len, rows)), _MOST_COLUMNS)
    padded = [row[:width] + [""] * (width - len(row)) for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    lines.insert(1, f"|{' --- |' * width}")
    links = sum(len((link.text() or "").strip()) for link in node.css("a"))
    caption = node.css_first("caption")
    title = " ".join(caption.text().split()) if caption is not None else ""
    return "\n".join([title, "", *lines] if title else lines), links


def _cell(node: LexborNode) -> str:
    has_blocks = node.css_first(_BLOCKS) is not None
    text = node.text(separator=" ") if has_blocks else node.text()
    return " ".join((text or "").replace("¶", "").split()).replace("|", "\\|")
