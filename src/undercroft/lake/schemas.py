"""The columns of the lake's tables.

Times are microseconds in UTC. Columns that end in ``_sealed``, and ``raw.payload``, are
ciphertexts of the vault. A document's id is the first 16 hex digits of the SHA-256 of its URI.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")

DIGEST = pa.binary(16)  # see `undercroft.lake.rows`

FINDING = pa.struct(
    [
        ("kind", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("score", pa.float32()),
        ("rule", pa.string()),
    ]
)

SEGMENT = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("code", pa.string())])

RAW = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("uri", pa.string()),
        ("fetched_at", TIME),
        ("licence", pa.string()),
        ("consent", pa.string()),
        ("usage", pa.string()),  # what the publisher says: `undercroft.collect.usage`
        ("subject", pa.string()),
        ("mime", pa.string()),
        ("title", pa.string()),
        ("group", pa.string()),
        ("file", pa.string()),  # what it was read from
        ("sha256", pa.string()),
        ("size_bytes", pa.int64()),
        ("status", pa.string()),  # ok | rejected
        ("reason", pa.string()),
        ("etag", pa.string()),
        ("last_modified", pa.string()),
        ("content", DIGEST),  # of the columns before etag but fetched_at
        ("payload", pa.large_binary()),  # sealed, aad = b"raw:" + id
    ]
)

#: The published heuristics (`undercroft.curate.heuristics.measures`), where they were asked for.
MEASURES: Final = (
    *("words", "spoken_words", "mean_spoken_length", "hash_ratio", "ellipsis_ratio"),
    *("bullet_lines", "ellipsis_lines", "letter_words", "stop_words"),
    *("repeated_lines", "repeated_line_chars"),
    *("repeated_paragraphs", "repeated_paragraph_chars"),
    *(f"top_{n}gram" for n in (2, 3, 4)),
    *(f"repeated_{n}gram" for n in range(5, 11)),
    *("punctuated_lines", "short_lines", "repeated_text_lines", "newlines_per_word"),
    *("c4_sentences", "c4_banned"),
)

DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("uri", pa.string()),
        ("title", pa.string()),
        ("group", pa.string()),
        ("mime", pa.string()),
        ("licence", pa.string()),
        ("consent", pa.string()),
        ("usage", pa.string()),
        ("subject", pa.string()),
        ("text", pa.large_string()),
        ("sha256", pa.string()),
        ("num_chars", pa.int32()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("segments", pa.list_(SEGMENT)),  # by language, where it is in several
        ("num_words", pa.int32()),
        ("mean_word_length", pa.float32()),
        ("symbol_ratio", pa.float32()),
        ("duplicate_line_ratio", pa.float32()),
        ("top_ngram_ratio", pa.float32()),
        ("num_pii", pa.int32()),
        ("num_secrets", pa.int32()),
        ("num_injections", pa.int32()),
        ("num_malicious", pa.int32()),
        ("num_names", pa.int32()),
        ("toxicity", pa.float32()),  # English only, as the next
        ("worst_toxicity", pa.float32()),  # of a passage
        ("spam", pa.float32()),
        ("generated", pa.float32()),
        ("excess_words", pa.float32()),  # in a thousand: `detect.generated`
        ("measures", pa.struct([(name, pa.float64()) for name in MEASURES])),
        ("findings", pa.list_(FINDING)),
        ("quarantined", pa.string()),  # why no worker got through it
        ("bands", pa.binary(112)),  # 14 MinHash keys of 64 bits
        ("lines", pa.large_binary()),  # `curate.lines`, where repeated ones are to be cut
        ("made_from", DIGEST),  # of the raw row, and of the code that read it
        ("digest", DIGEST),
    ]
)

#: What a document has to do with the others of its dataset.
DUPLICATES: Final = (
    ("exact_duplicate_of", pa.string()),
    ("same_url_as", pa.string()),
    ("near_duplicate_of", pa.string()),
    ("near_duplicate_jaccard", pa.float64()),
    ("near_duplicate_containment", pa.float64()),
    ("near_group", pa.uint64()),  # fingerprint of those it was compared with; null when none
    ("near_group_size", pa.int32()),
    ("semantic_duplicate_of", pa.string()),  # the document nearest in meaning, where asked for
    ("semantic_cosine", pa.float32()),
)

#: What documents mean, as vectors of float16; kept for as long as the text and the model stay.
MEANINGS: Final = pa.schema(
    [("id", pa.string()), ("made_from", DIGEST), ("vector", pa.large_binary())]
)

#: One row per document of a dataset artifact, in its ``selection.parquet``.
SELECTION = pa.schema(
    [
        ("id", pa.string()),
        ("kept", pa.bool_()),
        ("rule", pa.string()),
        ("value", pa.string()),
        ("digest", DIGEST),  # of the document's row
        ("purposes", pa.list_(pa.string())),  # that it may serve, of those declared
        *DUPLICATES,
        (
            "mask",
            pa.list_(
                pa.struct([("start", pa.int32()), ("end", pa.int32()), ("label", pa.string())])
            ),
        ),
    ]
)


def chunks(dimensions: int) -> pa.Schema:
    """The schema of the ``vectors`` table, for vectors of ``dimensions`` float32."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("document", pa.string()),
            ("uri", pa.string()),
            ("title", pa.string()),
            ("heading", pa.string()),
            ("text", pa.large_string()),
            ("start", pa.int32()),
            ("end", pa.int32()),
            ("vector", pa.list_(pa.float32(), dimensions)),
        ]
    )


CHUNKS = chunks(256)

PASSAGE = pa.struct(
    [
        ("id", pa.string()),
        ("document", pa.string()),
        ("uri", pa.string()),
        ("title", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("score", pa.float32()),
    ]
)

REQUESTS = pa.schema(
    [
        ("id", pa.string()),
        ("at", TIME),
        ("key", pa.string()),
        ("subject", pa.string()),
        ("route", pa.string()),
        ("model", pa.string()),
        ("kind", pa.string()),
        ("question_sealed", pa.binary()),
        ("answer_sealed", pa.binary()),
        ("passages", pa.list_(PASSAGE)),
        ("findings", pa.list_(FINDING)),
        ("status", pa.string()),
        ("finish_reason", pa.string()),
        ("cached", pa.bool_()),
        ("degraded", pa.string()),
        ("queue_ms", pa.float32()),
        ("retrieve_ms", pa.float32()),
        ("ttft_ms", pa.float32()),
        ("total_ms", pa.float32()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("cost", pa.float64()),
        ("energy_wh", pa.float64()),
        ("consent", pa.string()),  # store, where the client agreed that it be learnt from
        ("alike", pa.string()),  # the request with the same question in other words
    ]
)

FEEDBACK = pa.schema(
    [
        ("id", pa.string()),
        ("answer", pa.string()),
        ("at", TIME),
        ("key", pa.string()),
        ("rating", pa.int8()),  # -1 | 0 | 1
        ("comment_sealed", pa.binary()),
        ("subject", pa.string()),
    ]
)
