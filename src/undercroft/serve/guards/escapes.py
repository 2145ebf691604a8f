"""JSON as it is written, with no letter hidden in an escape.

``"alice\\u0040riverbank.co"`` is a mail address to whoever reads the JSON, and to no screen. So
what an engine writes as JSON has needless escapes undone before it is screened: it stays the same
JSON. Quotes, backslashes, control characters and surrogates keep theirs.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_PENDING = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_KEPT = '"\\\u007f\u2028\u2029'


class JsonEscapes:
    """Feed it JSON in pieces; what comes out says the same with fewer escapes."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text
        at = 0
        shown = []
        while (start := text.find("\\", at)) >= 0:
            found = _ESCAPE.match(text, start)
            if found is None or _PENDING.match(text, start):
                break
            shown += [text[at:start], _plain(found)]
            at = found.end()
        else:
            self._held = ""
            return "".join([*shown, text[at:]])
        self._held = text[start:]
        return "".join([*shown, text[at:start]])

    def flush(self, text: str = "") -> str:
        shown = self.feed(text)
        held, self._held = self._held, ""
        return shown + held


def _plain(escape: re.Match[str]) -> str:
    if escape[2] == "/":
        return "/"
    if escape[1] is None:
        return escape[0]
    letter = chr(int(escape[1], 16))
    is_needed = letter < " " or letter in _KEPT or "\ud800" <= letter <= "\udfff"
    return escape[0] if is_needed else letter
