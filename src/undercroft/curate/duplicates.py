"""Texts that say the same: exact copies, and near ones whose likeness is verified.

Candidates come from shared MinHash keys (`bands`), group by group (`groups`). A shared key is
only a hint: a text is a duplicate when its exact Jaccard with the text that stays reaches the
threshold, or when all its runs of words stand in that text. Nothing is removed for being like
something that is itself removed, so likeness does not chain.

Which text stays does not depend on the order they come in, nor on how they are divided: the
longest, and of equals the one whose name (its address) is shortest, then first in the alphabet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from undercroft.curate.bands import BANDS, NGRAM
from undercroft.curate.compiled import Span, on_every_core
from undercroft.curate.groups import Corpus, Groups, group
from undercroft.curate.shingles import Kept
from undercroft.curate.signals import batches, measure

if TYPE_CHECKING:
    import pyarrow as pa

#: Texts of one template crowd into a bucket; each is compared with this many of them at most.
MAX_COMPARED: Final = 64
_CHUNK_CHARS: Final = 16_000_000  # of texts compared together: bounds the memory this takes
_TASK_WORDS: Final = 100_000
#: The address of a page within that of an archive, without the number of a further take.
_PAGE: Final = r"(?P<page>https?://.*?)(?:~[0-9]+)?$"

Texts = Callable[[NDArray[np.int64]], "pa.LargeStringArray"]


@dataclass(frozen=True, slots=True)
class Near:
    """Text ``original`` (an index) stays for this one; how alike they are.

    ``containment`` is the share of this text's runs of words that the original has too.
    """

    original: int
    jaccard: float
    containment: float


@dataclass(frozen=True)
class Found:
    """The near duplicates by index, the groups they were looked for in, and how many texts had to
    be read for it."""

    near: Mapping[int, Near]
    groups: Groups
    num_read: int


Before = Mapping[int, tuple[int, Near | None]]
"""What an earlier run found, by document id: the fingerprint of its group, and its original (here
by id)."""


def exact(corpus: Corpus) -> NDArray[np.int64]:
    """For each copy the index of the text that stays, -1 for all others; int64 [n].

    Empty texts are no copies of each other.
    """
    codes = corpus.sha256.dictionary_encode().indices.to_numpy()
    return _alike(corpus, codes, corpus.num_chars > 0)


def same_url(corpus: Corpus) -> NDArray[np.int64]:
    """For each page that was taken more than once, as in several archives, the index of the take
    that stays: the longest; -1 for all others, int64 [n]."""
    import pyarrow.compute as pc

    pages = pc.struct_field(pc.extract_regex(corpus.names, _PAGE), "page")
    is_page = pc.is_valid(pages).to_numpy(zero_copy_only=False)
    codes = pc.fill_null(pages, "").dictionary_encode().indices.to_numpy()
    return _alike(corpus, codes, is_page)


def _alike(
    corpus: Corpus, codes: NDArray[np.int32], chosen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Of the ``chosen`` with equal codes the index of the one that stays; -1 for that one itself
    and for all others."""
    originals = np.full(len(corpus), -1, np.int64)
    counts = np.bincount(codes[chosen], minlength=int(codes.max(initial=0)) + 1)
    copied = np.flatnonzero(chosen & (counts[codes] > 1))
    names = _names(corpus, copied)
    first: dict[int, int] = {}
    ranked = sorted(copied.tolist(), key=lambda i: (-corpus.num_chars[i], _rank(names[i])))
    for index in ranked:
        first.setdefault(int(codes[index]), index)
    for index in copied.tolist():
        stays = first[int(codes[index])]
        originals[index] = -1 if stays == index else stays
    return originals


def near(
    corpus: Corpus,
    texts_of: Texts,
    threshold: float,
    left_out: NDArray[np.bool_] | None = None,
    before: Before | None = None,
) -> Found:
    """The near duplicates in ``corpus``.

    ``texts_of`` gives the texts of some indices; those of groups that ``before`` knows are not
    asked for. Texts that are ``left_out`` (exact copies) neither stay nor go.
    """
    out = np.zeros(len(corpus), np.bool_) if left_out is None else left_out
    groups = group(corpus, out, threshold)
    members = np.flatnonzero(groups.sizes() > 1)
    found, fresh = _as_before(corpus, groups, members, before or {})
    names = _names(corpus, fresh)
    ordered = sorted(
        fresh.tolist(),
        key=lambda i: (groups.first[i], -corpus.num_chars[i], _rank(names[i])),
    )
    search = _Search(corpus, groups.first, names, threshold, found)
    for chunk in _chunks(np.array(ordered, np.int64), corpus.num_chars):
        search.go_through(chunk, texts_of(chunk))
    return Found(found, groups, len(ordered))


def _as_before(
    corpus: Corpus, groups: Groups, members: NDArray[np.int64], before: Before
) -> tuple[dict[int, Near], NDArray[np.int64]]:
    """What is still so, and the ``members`` of groups that have to be looked at."""
    prints = groups.fingerprints
    ids = corpus.ids[members].tolist()
    places = dict(zip(ids, members.tolist(), strict=True)) if before else {}
    same = np.array(
        [
            (known := before.get(each)) is not None and known[0] == int(prints[index])
            for each, index in zip(ids, members.tolist(), strict=True)
        ],
        np.bool_,
    )
    whole = ~np.isin(groups.first[members], groups.first[members[~same]])
    found: dict[int, Near] = {}
    for index in members[whole].tolist():
        _, alike = before[int(corpus.ids[index])]
        if alike is not None:
            found[index] = Near(places[alike.original], alike.jaccard, alike.containment)
    return found, members[~whole]


def _chunks(
    indices: NDArray[np.int64], num_chars: NDArray[np.int32]
) -> Iterator[NDArray[np.int64]]:
    """``indices`` in pieces of about `_CHUNK_CHARS`."""
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(num_chars[indices], dtype=np.int64)])
    for first, last in batches(ends, _CHUNK_CHARS):
        yield indices[first:last]


@dataclass
class _Search:
    """Goes through texts group by group, the one that would stay first, and fills ``found``."""

    corpus: Corpus
    group_of: NDArray[np.int32]
    names: Mapping[int, str]
    threshold: float
    found: dict[int, Near]
    group: int = -1
    kept: Kept = field(default_factory=Kept)
    buckets: list[dict[int, list[int]]] = field(default_factory=list)

    def go_through(self, indices: NDArray[np.int64], texts: pa.LargeStringArray) -> None:
        keys = self.corpus.bands[indices].tolist()
        for index, row, own in zip(indices.tolist(), keys, _shingles(texts), strict=True):
            if self.group_of[index] != self.group:
                self.group = int(self.group_of[index])
                self.kept.clear()
                self.buckets = [{} for _ in range(BANDS)]
            self._judge(index, row, own)
        self.kept.spill()

    def _judge(self, index: int, row: list[int], own: NDArray[np.uint64]) -> None:
        buckets = list(zip(self.buckets, row, strict=True))
        candidates = {each for bucket, key in buckets for each in bucket.get(key, ())}
        best = self._best(own, candidates)
        if best is not None:
            self.found[index] = best
            return
        self.kept.add(index, own)
        for bucket, key in buckets:
            stayed = bucket.setdefault(key, [])
            if len(stayed) < MAX_COMPARED:
                stayed.append(index)

    def _best(self, own: NDArray[np.uint64], candidates: set[int]) -> Near | None:
        """The most alike of the candidates that really are alike."""
        verified: list[Near] = []
        for candidate in candidates:
            other = self.kept.of(candidate)
            common = len(np.intersect1d(own, other, assume_unique=True))
            jaccard = common / (len(own) + len(other) - common)
            if jaccard >= self.threshold or common == len(own):
                verified.append(Near(candidate, jaccard, common / len(own)))
        return min(
            verified,
            key=lambda each: (-each.jaccard, _rank(self.names[each.original])),
            default=None,
        )


def _shingles(texts: pa.LargeStringArray) -> list[NDArray[np.uint64]]:
    """The set of runs of words of each text, sorted."""
    from undercroft.curate import kernels

    measured = measure(texts)

    def work(span: Span) -> list[NDArray[np.uint64]]:
        starts = measured.starts[span[0] : span[1] + 1]
        return [
            np.unique(kernels.shingles(measured.words[first:last], NGRAM))
            for first, last in pairwise(starts.tolist())
        ]

    parts = on_every_core(work, batches(measured.starts, _TASK_WORDS))
    return [own for part in parts for own in part]


def _names(corpus: Corpus, indices: NDArray[np.int64]) -> dict[int, str]:
    names: list[str] = corpus.names.take(indices).to_pylist() if len(indices) else []
    return dict(zip(indices.tolist(), names, strict=True))


def _rank(name: str) -> tuple[int, str]:
    return len(name), name
