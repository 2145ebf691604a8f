"""Documents to a searchable table of chunks, and a question to the passages that may answer it.

A question is matched by its words (BM25 over text, title and heading; Lance's inverted index) and
by its meaning (cosine of static vectors), and the two scores are added: the BM25 score as a share
of the best match's, the cosine with a weight. This convex combination (Bruch, Gai and Ingber,
"An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 42, 2023) finds more here than
reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009, k = 60), which forgets by how
much a match is better than the next; the lab book has both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pyarrow as pa
from lance.query import MultiMatchQuery

from undercroft.errors import NotFound
from undercroft.lake import Lake
from undercroft.lake.faults import told
from undercroft.lake.schemas import chunks as chunk_schema
from undercroft.lake.table import Table
from undercroft.records import Passage
from undercroft.retrieve.chunk import split
from undercroft.retrieve.embed import Embedder
from undercroft.retrieve.rerank import DEPTH, distinct, reranked
from undercroft.retrieve.vectors import RESIDENT_CHUNKS, Vectors, open_vectors
from undercroft.settings import IndexSettings

if TYPE_CHECKING:
    from undercroft.retrieve.embed import Matrix

TABLE = "vectors"
SEARCHED = ("text", "title", "heading")

#: Weight of the cosine beside the BM25 score, which is at most 1; best of 0.25, 0.5 and 1.
COSINE_WEIGHT = 1.0
#: Documents chunked, embedded and written at once.
_BATCH_DOCUMENTS = 256
_QUESTION_CHARS = 1000

#: Words that ask rather than name. Keywords of programming languages are not among them, so that
#: `with`, `for`, `if`, `is`, `not`, `from` and `in` can be asked about. Words are not stemmed.
ASKING_WORDS = [
    "a",
    "an",
    "the",
    "of",
    "to",
    "how",
    "does",
    "do",
    "did",
    "what",
    "which",
    "are",
    "was",
    "were",
    "be",
    "been",
    "being",
    "this",
    "that",
    "these",
    "those",
    "it",
    "its",
    "i",
    "me",
    "my",
    "you",
    "your",
    "we",
    "can",
    "could",
    "should",
    "would",
    "tell",
    "about",
    "there",
    "when",
    "where",
    "who",
    "use",
    "using",
    "used",
]

Progress = Callable[[int, int], None]


def build(
    lake: Lake,
    documents: pa.Table,
    embedder: Embedder,
    settings: IndexSettings,
    progress: Progress,
) -> int:
    """Make the chunks of ``documents`` (id, uri, title, text) the content of table `TABLE`.

    ``progress`` is called with documents done and documents in all. Returns the version, with its
    indices built.
    """
    table = lake.table(TABLE)
    table.overwrite(chunk_schema(embedder.dimensions).empty_table())
    for start in range(0, documents.num_rows, _BATCH_DOCUMENTS):
        batch = documents.slice(start, _BATCH_DOCUMENTS)
        rows = list(_rows(batch, settings))
        if rows:
            table.append(_with_vectors(rows, embedder))
        progress(start + batch.num_rows, documents.num_rows)
    num_chunks = table.count()
    if num_chunks:
        for column in SEARCHED:
            table.index(
                column,
                "INVERTED",
                base_tokenizer="icu/split",  # finds words where a script has no spaces
                stem=False,
                remove_stop_words=True,
                custom_stop_words=ASKING_WORDS,
                with_position=False,
            )
    if num_chunks > RESIDENT_CHUNKS:
        table.index("vector", "IVF_FLAT", metric="cosine")
    return table.version


class Retriever:
    """Searches one version of the chunk table; safe to use from several threads.

    The vectors of up to `RESIDENT_CHUNKS` chunks are held in memory; more stay on disk behind an
    index.
    """

    def __init__(self, table: Table, version: int | None, embedder: Embedder) -> None:
        self._table = table
        self._version = version
        self._embedder = embedder
        self.reopen()

    def reopen(self) -> None:
        """Read the version again: after an erasure it no longer has what was erased.

        Searches that run meanwhile are answered from what was open before.
        """
        dataset = self._table.dataset(self._version)
        vectors = open_vectors(dataset)
        for index in dataset.describe_indices():
            dataset.prewarm_index(index.name)
        self._opened: tuple[lance.LanceDataset, Vectors] = (dataset, vectors)

    def search(
        self, question: str, k: int, candidates: int = 30, *, rerank: bool = False
    ) -> list[Passage]:
        """The best ``k`` passages for ``question``, best first; any text is a valid question.

        ``candidates`` are taken from words and from meaning each before they are merged. With
        ``rerank`` the best of them are looked at once more, and what says the same as a better one
        is left out. `Passage.score` is between 0 and 1, and 1 only for the best match in both.
        """
        asked = question[:_QUESTION_CHARS].encode("utf-8", "replace").decode().replace("\0", " ")
        wanted = max(k, DEPTH) if rerank else k
        try:
            found = self._search(asked, wanted, max(wanted, candidates))
        except NotFound:  # another process erased something and its files went with it
            self.reopen()
            found = self._search(asked, wanted, max(wanted, candidates))
        return distinct(reranked(asked, found), k) if rerank else found

    def _search(self, asked: str, k: int, candidates: int) -> list[Passage]:
        dataset, vectors = self._opened
        if not asked.strip() or not len(vectors):
            return []
        with told("search the index"):
            words = by_words(dataset, asked, candidates)
            cosines = by_meaning(vectors, self._embedder.encode([asked])[0], words, candidates)
            scores = fuse(words, cosines)
            best = sorted(scores, key=lambda row: (-scores[row], row))[:k]
            rows = vectors.take(best)
        return [_passage(row, scores[at]) for at, row in zip(best, rows, strict=True)]


def by_words(dataset: lance.LanceDataset, question: str, limit: int) -> dict[int, float]:
    """BM25 scores by row id of the ``limit`` best matches."""
    query = MultiMatchQuery(question, list(SEARCHED))
    found = dataset.scanner(
        columns=["_rowid", "_score"], full_text_query=query, limit=limit
    ).to_table()
    return dict(zip(found["_rowid"].to_pylist(), found["_score"].to_pylist(), strict=True))


def by_meaning(
    vectors: Vectors, vector: Matrix, words: dict[int, float], limit: int
) -> dict[int, float]:
    """Cosines by row id, of the ``limit`` nearest chunks and of those found by ``words``."""
    if not vector.any():
        return dict.fromkeys(words, 0.0)
    return vectors.nearest(vector, limit) | vectors.cosines(vector, list(words))


def fuse(words: dict[int, float], cosines: dict[int, float]) -> dict[int, float]:
    """One score between 0 and 1 for every row in either; the weights are this module's."""
    top = max(words.values(), default=0.0) or 1.0
    return {
        row: (words.get(row, 0.0) / top + COSINE_WEIGHT * max(0.0, cosines.get(row, 0.0)))
        / (1 + COSINE_WEIGHT)
        for row in {*words, *cosines}
    }


def _rows(documents: pa.Table, settings: IndexSettings) -> Iterator[dict[str, Any]]:
    for document in documents.select(["id", "uri", "title", "text"]).to_pylist():
        text = document["text"] or ""
        for chunk in split(text, settings.chunk_chars, settings.chunk_overlap):
            yield {
                "id": f"{document['id']}:{chunk.start}",
                "document": document["id"],
                "uri": document["uri"],
                "title": document["title"] or "",
                "heading": chunk.heading,
                "text": text[chunk.start : chunk.end],
                "start": chunk.start,
                "end": chunk.end,
            }


def _with_vectors(rows: list[dict[str, Any]], embedder: Embedder) -> pa.Table:
    """``rows`` as a table of chunks. A vector is that of the text with the title half as heavy."""
    texts = [row["text"] for row in rows]
    titled = [f"{row['title']}\n{row['heading']}\n{row['text']}" for row in rows]
    vectors = embedder.encode(texts) + embedder.encode(titled)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, norms, out=vectors, where=norms > 0)
    schema = chunk_schema(embedder.dimensions)
    table = pa.Table.from_pylist(rows, schema.remove(schema.get_field_index("vector")))
    flat = pa.array(vectors.ravel(), pa.float32())
    column = pa.FixedSizeListArray.from_arrays(flat, embedder.dimensions)
    return table.append_column("vector", column)


def _passage(row: dict[str, Any], score: float) -> Passage:
    return Passage(
        id=row["id"],
        document=row["document"],
        uri=row["uri"],
        title=row["title"],
        text=row["text"],
        start=row["start"],
        end=row["end"],
        score=round(score, 4),
    )
