"""The theme and the script of every page, as they stand in its head."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from undercroft.console.markup import Markup

ASSETS = Path(__file__).parent.parent / "assets"


@cache
def head() -> Markup:
    """Inline, so that no page is ever seen in another look while they load."""
    css = (ASSETS / "theme.css").read_text(encoding="utf-8")
    script = (ASSETS / "console.js").read_text(encoding="utf-8")
    return Markup("<style>{}</style><script>{}</script>").format(Markup(css), Markup(script))
