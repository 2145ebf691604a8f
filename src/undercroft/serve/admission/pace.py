"""How fast a pool answers, as its answers showed."""

from __future__ import annotations

from collections import deque

AVERAGE_OVER = 20  # answers
KNOWN_AFTER = 5
KEPT_FIRSTS = 200
TAIL = 0.95


class Pace:
    """Moving averages, None until `KNOWN_AFTER` answers were seen."""

    def __init__(self) -> None:
        self._answers = 0
        self._answer_s = 0.0
        self._tokens = 0.0
        self._token_s = 0.0
        self._reads = 0
        self._firsts: deque[float] = deque(maxlen=KEPT_FIRSTS)
        self._late_s: float | None = None

    def answered(self, took_s: float) -> None:
        """An answer held its slot for ``took_s``."""
        self._answers += 1
        weight = 1 / min(self._answers, AVERAGE_OVER)
        self._answer_s += (took_s - self._answer_s) * weight

    def began(self, first_s: float) -> None:
        """An answer's first text came ``first_s`` after its slot."""
        self._firsts.append(first_s)
        self._late_s = None

    def read(self, tokens: int, first_s: float, at_once: int) -> None:
        """``tokens`` were read in ``first_s``, while the engine read about ``at_once`` prompts."""
        self._reads += 1
        kept = 1 - 1 / AVERAGE_OVER
        self._tokens = self._tokens * kept + tokens * at_once
        self._token_s = self._token_s * kept + first_s

    @property
    def answer_s(self) -> float | None:
        """Seconds that an answer holds its slot."""
        return self._answer_s if self._answers >= KNOWN_AFTER else None

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens of prompts that the pool reads in a second. Those that the engine remembered
        count as read: they are as good as."""
        known = self._reads >= KNOWN_AFTER and self._token_s > 0
        return self._tokens / self._token_s if known else None

    @property
    def late_s(self) -> float | None:
        """The time to the first text that only 5 answers in 100 exceed."""
        if len(self._firsts) < 4 * KNOWN_AFTER:
            return None
        if self._late_s is None:
            ordered = sorted(self._firsts)
            self._late_s = ordered[int(TAIL * (len(ordered) - 1))]
        return self._late_s
