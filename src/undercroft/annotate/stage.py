"""The stage ``examples``: dataset, index, embedding -> ``examples:NAME`` and ``suite:NAME``.

Both are folders with one JSON object a line, the fields of `records.Example`. Answerable cases of
the suite name the span that holds the answer, so that evaluation can retrieve for itself and know
a hit; unanswerable ones bring the passages to refuse over.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from undercroft.annotate.build import Chunks, build
from undercroft.annotate.questions import Source
from undercroft.errors import BadInput
from undercroft.project import Project
from undercroft.records import Artifact, Example, Passage
from undercroft.settings import AnnotateSettings
from undercroft.stage import Made, StageRun, stage

EXAMPLES_FILE = "examples.jsonl"
CASES_FILE = "cases.jsonl"


def _passages_shown(project: Project, params: AnnotateSettings) -> str:  # noqa: ARG001
    """Examples show as many passages as are served, of the size that is served."""
    return f"{project.settings.retrieve.passages} of {project.settings.index.chunk_chars}"


@stage(
    "examples",
    version=1,
    params=AnnotateSettings,
    code=("undercroft.retrieve.chunk", "undercroft.retrieve.prompt"),
    fingerprint=_passages_shown,
)
def examples(
    run: StageRun,
    params: AnnotateSettings,
    *,
    dataset: Artifact,
    index: Artifact | None = None,
    embedding: Artifact | None = None,
) -> tuple[Made, Made]:
    """Make examples from ``dataset``, with the chunks of ``index`` as passages.

    Without an index the documents are cut as it would cut them, and distractors are chosen by
    words alone. Raises `BadInput` when the documents give no question.
    """
    sources = _sources(run.project, dataset)
    chunks = _chunks(run.project, sources, index, embedding)
    built = build(
        sources,
        chunks,
        params,
        run.project.settings.retrieve.passages,
        lambda done, total, note: run.progress(done, total, "documents", note),
    )
    facts = {"documents": len(sources), "held_out_groups": len(built.held_out)}
    return (
        _made(run, "examples", EXAMPLES_FILE, built.examples, facts),
        _made(run, "suite", CASES_FILE, built.cases, facts),
    )


def _sources(project: Project, dataset: Artifact) -> list[Source]:
    from undercroft.lake import read_dataset

    columns = ["id", "uri", "title", "text", "group"]
    table = read_dataset(project.lake, dataset, columns, "retrieval")  # what can be found
    found = [
        Source(row["id"], row["uri"], row["title"] or "", row["text"], row["group"] or row["uri"])
        for row in table.to_pylist()
        if row["text"]
    ]
    if not found:
        raise BadInput(
            f"{dataset} keeps no document with text in it.",
            "Questions are made from the text of documents.",
            "See what was removed, and why, with: undercroft show dataset",
        )
    return found


def _chunks(
    project: Project, sources: Sequence[Source], index: Artifact | None, embedding: Artifact | None
) -> Chunks:
    if index is None:
        return cut(sources, project.settings.index.chunk_chars)
    import numpy as np

    table, version = project.table(index)
    columns = ["id", "document", "uri", "title", "text", "start", "end", "vector"]
    rows = table.read(columns=columns, version=version)
    vectors = rows["vector"].combine_chunks()
    matrix = vectors.flatten().to_numpy().reshape(len(rows), -1).astype(np.float32)
    passages = [Passage(**row) for row in rows.drop_columns(["vector"]).to_pylist()]
    if embedding is None:
        return Chunks(passages)
    from undercroft.retrieve import Embedder

    return Chunks(passages, matrix, Embedder.load(project.path(embedding)).encode)


def cut(sources: Iterable[Source], chunk_chars: int) -> Chunks:
    """The chunks that an index of ``sources`` would hold, without vectors."""
    from undercroft.retrieve.chunk import split

    return Chunks(
        [
            Passage(
                id=f"{source.id}:{chunk.start}",
                document=source.id,
                uri=source.uri,
                title=source.title,
                text=source.text[chunk.start : chunk.end],
                start=chunk.start,
                end=chunk.end,
            )
            for source in sources
            for chunk in split(source.text, chunk_chars)
        ]
    )


def _made(
    run: StageRun, kind: str, file: str, made: Sequence[Example], facts: Mapping[str, int]
) -> Made:
    folder = run.workdir / kind
    folder.mkdir(exist_ok=True)
    write(folder / file, made)
    meta: dict[str, Any] = {
        "examples": len(made),
        "unanswerable": sum(not example.answerable for example in made),
        "kinds": dict(Counter(example.kind for example in made).most_common()),
        "groups": len({example.group for example in made}),
        **facts,
        "synthetic": True,
        "file": file,
    }
    return Made(kind, run.project.name, path=folder, meta=meta)


def write(path: Path, examples: Iterable[Example]) -> None:
    """One JSON object a line."""
    with path.open("w", encoding="utf-8") as out:
        for example in examples:
            out.write(json.dumps(asdict(example), ensure_ascii=False) + "\n")
