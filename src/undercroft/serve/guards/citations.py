"""Citations in a stream of text: those of passages that were not shown are taken out.

A small model sometimes cites [7] with three passages before it. The reader would look for a source
that does not exist, so such numbers never leave. Held back is only what may be, or may become, a
run of citations, until something else follows it.
"""

from __future__ import annotations

import re

_ONE = r"\[\d{1,2}(?:\s*,\s*\d{1,2})*\]"
_RUN = re.compile(rf"( *)((?:{_ONE})+)")
_PENDING = re.compile(rf" *(?:{_ONE})*(?:\[(?:\d{{1,2}}\s*,\s*)*(?:\d{{1,2}}\s*)?)?\Z")
_BRACKET = re.compile(_ONE)
_NUMBER = re.compile(r"\d+")
_CODE_BEFORE = re.compile(
    r"[\w)\]]"
)  # `list[1]` and `f(x)[0]` are code, as `retrieve.prompt` has it


class CitationFilter:
    """Feed it text; what comes out cites only passages 1 to ``num_passages``."""

    def __init__(self, num_passages: int) -> None:
        self._num_passages = num_passages
        self._held = ""
        self._before = ""  # the last character before what is held
        self.removed = 0

    def feed(self, text: str) -> str:
        whole = self._held + text
        pending = _PENDING.search(whole)
        cut = pending.start() if pending is not None else len(whole)
        self._held = whole[cut:]
        return self._release(whole[:cut])

    def flush(self, text: str = "") -> str:
        """What was held back, and ``text``, which is the last."""
        whole, self._held = self._held + text, ""
        return self._release(whole)

    def _release(self, text: str) -> str:
        if not text:
            return ""
        checked = _RUN.sub(self._check, text)
        self._before = text[-1]
        return checked

    def _check(self, run: re.Match[str]) -> str:
        spaces, brackets = run.groups()
        before = run.string[run.start() - 1] if run.start() else self._before
        if not spaces and _CODE_BEFORE.match(before):
            return run[0]
        kept = _BRACKET.sub(self._check_one, brackets)
        return spaces + kept if kept else ""

    def _check_one(self, bracket: re.Match[str]) -> str:
        numbers = [int(number) for number in _NUMBER.findall(bracket[0])]
        real = [number for number in numbers if 1 <= number <= self._num_passages]
        self.removed += len(numbers) - len(real)
        if len(real) == len(numbers):
            return bracket[0]
        return f"[{', '.join(map(str, real))}]" if real else ""
