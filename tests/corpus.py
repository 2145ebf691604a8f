"""Small real corpora for tests: pages of the language reference that every Python carries."""

from __future__ import annotations

import re
from pathlib import Path
from pydoc_data.topics import topics

TOPICS = (
    "with", "while", "try", "assert", "break", "class", "compound", "continue", "del", "dict",
    "else", "exceptions", "execmodel", "for", "function", "global", "if", "import", "integers",
    "lambda", "lists", "naming", "nonlocal", "objects", "pass", "raise", "return", "strings",
    "subscriptions", "truth", "types", "yield",
)  # fmt: skip


def write_topics(folder: Path, count: int = len(TOPICS)) -> Path:
    """``count`` topics of the Python reference as Markdown files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOPICS[:count]:
        text = re.sub(r"^(.+)\n\*{3,}$", r"# \1", topics[name], flags=re.MULTILINE)
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return folder
