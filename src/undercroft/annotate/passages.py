"""The chunks that questions are shown with, and how near each is to a question.

Distractors should be what the served retriever would show. Asking it once for each of thousands
of questions takes minutes, so its two halves, words and vectors, are scored here for all questions
in one matrix product.
"""

from __future__ import annotations

import bisect
import re
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from undercroft.annotate import quality
from undercroft.annotate.structure import words_of
from undercroft.records import Passage

Floats = npt.NDArray[np.float32]
Encode = Callable[[list[str]], Floats]

_BUCKETS = 2048
_TOKEN = re.compile(r"[^\W_]+")


class Shelf:
    """Chunks in document order, found by span or by question.

    ``vectors`` [chunks, dim] are the index's unit rows and ``encode`` embeds questions into the
    same space; without them nearness is judged by words alone.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        vectors: Floats | None = None,
        encode: Encode | None = None,
    ) -> None:
        order = sorted(
            range(len(passages)), key=lambda i: (passages[i].document, passages[i].start)
        )
        self.passages = [passages[i] for i in order]
        self._starts = [(passage.document, passage.start) for passage in self.passages]
        self._vectors = vectors[order] if vectors is not None and encode is not None else None
        self._encode = encode
        self._shown = [f"{passage.title} {passage.text}" for passage in self.passages]

    def holding(self, document: str, start: int, end: int) -> int | None:
        """Position of the chunk that holds the whole span, or None where it lies across two."""
        at = bisect.bisect_right(self._starts, (document, start)) - 1
        if at < 0:
            return None
        passage = self.passages[at]
        inside = passage.document == document and end <= passage.end
        return at if inside else None

    def nearest(self, questions: Sequence[str], count: int) -> npt.NDArray[np.intp]:
        """Positions [questions, count] of the chunks nearest to each question, best first."""
        scores = self._counts(questions) @ self._words.T
        if self._vectors is not None and self._encode is not None:
            scores += self._encode(list(questions)) @ self._vectors.T
        count = min(count, len(self.passages))
        top = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        ranked = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        return np.take_along_axis(top, ranked, axis=1)

    def says(self, position: int, words: str) -> bool:
        """Whether the chunk's text holds ``words``, wrapped lines or not."""
        return words in self._flat[position]

    def mentions(self, position: int, subject: str) -> bool:
        """Whether title or text of the chunk name ``subject``."""
        return f" {quality.key_of(subject)} " in self._keys[position]

    def knows(self, position: int, subject: str) -> bool:
        """Whether the chunk shows most telling words of ``subject``, so that one can tell what
        its sentences are about."""
        wanted = quality.content_words(subject)
        found = wanted & quality.content_words(self._shown[position])
        return len(found) * 2 >= len(wanted)

    @cached_property
    def _flat(self) -> list[str]:
        return [words_of(passage.text) for passage in self.passages]

    @cached_property
    def _keys(self) -> list[str]:
        return [f" {quality.key_of(shown)} " for shown in self._shown]

    @cached_property
    def _rarity(self) -> Floats:
        """Inverse document frequency of each hash bucket [buckets]."""
        seen = np.zeros(_BUCKETS, dtype=np.float32)
        for shown in self._shown:
            seen[list({_bucket(token) for token in _TOKEN.findall(shown.lower())})] += 1
        return np.log((1 + len(self.passages)) / (1 + seen)).astype(np.float32)

    @cached_property
    def _words(self) -> Floats:
        return self._counts(self._shown)

    def _counts(self, texts: Sequence[str]) -> Floats:
        """Unit rows [texts, buckets] of damped, rarity-weighted word counts."""
        counts = np.zeros((len(texts), _BUCKETS), dtype=np.float32)
        for row, text in enumerate(texts):
            for token in _TOKEN.findall(text.lower()):
                counts[row, _bucket(token)] += 1
        weighted = np.log1p(counts) * self._rarity
        lengths = np.linalg.norm(weighted, axis=1, keepdims=True)
        return np.asarray(weighted / np.maximum(lengths, 1e-9), dtype=np.float32)


def _bucket(token: str) -> int:
    return zlib.crc32(token.encode()) % _BUCKETS
