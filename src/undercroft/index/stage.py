"""The stages ``distil`` (-> embedding) and ``index`` (dataset, embedding -> index)."""

from __future__ import annotations

import hashlib

from undercroft.records import Artifact
from undercroft.settings import IndexSettings
from undercroft.stage import Made, StageRun, stage


@stage(
    "distil",
    version=1,
    params=IndexSettings,
    code=("undercroft.retrieve.distil", "undercroft.retrieve.shelf"),
)
def distil(run: StageRun, params: IndexSettings) -> Made:
    """Distil ``params.embedding`` into static vectors, one per token of its vocabulary."""
    from undercroft.retrieve import Embedder
    from undercroft.retrieve.shelf import distil_or_reuse

    out = run.workdir / "embedding"
    distil_or_reuse(
        params.embedding,
        params.dimensions,
        out,
        lambda done, total: run.progress(done, total, "tokens", f"distilling {params.embedding}"),
    )
    embedder = Embedder.load(out)
    return Made(
        "embedding",
        run.project.name,
        path=out,
        meta={
            "model": params.embedding,
            "dimensions": embedder.dimensions,
            "tokens": len(embedder.vectors),
        },
    )


@stage("index", version=1, params=IndexSettings, code=("undercroft.retrieve", "undercroft.lake"))
def index(run: StageRun, params: IndexSettings, *, dataset: Artifact, embedding: Artifact) -> Made:
    """Make the passages of ``dataset`` findable by their words and, with ``embedding``, meaning."""
    from undercroft.lake import read_dataset
    from undercroft.retrieve import Embedder, build

    project = run.project
    columns = ["id", "uri", "title", "text"]
    documents = read_dataset(project.lake, dataset, columns, "retrieval")
    version = build(
        project.lake,
        documents,
        Embedder.load(project.path(embedding)),
        params,
        lambda done, total: run.progress(done, total, "documents", "cutting and embedding"),
    )
    table = project.lake.table("vectors")
    # The same documents, model and sizes make the same passages, whatever the version's number.
    content = f"{dataset.digest} {embedding.digest} {params.chunk_chars} {params.chunk_overlap}"
    return Made(
        "index",
        project.name,
        table=("vectors", version),
        digest=hashlib.sha256(content.encode()).hexdigest(),
        meta={
            "documents": documents.num_rows,
            "chunks": table.count(version=version),
            "dimensions": int(embedding.meta["dimensions"]),
            "embedding": str(embedding.ref),
            "dataset": str(dataset.ref),
        },
    )
