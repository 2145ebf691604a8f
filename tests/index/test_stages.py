"""The stages distil and index, from a dataset artifact to passages that are found."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from undercroft.index.stage import distil, index
from undercroft.lake import equals, read_dataset
from undercroft.lake.schemas import DOCUMENTS, SELECTION
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.retrieve import Embedder, Retriever
from undercroft.settings import IndexSettings
from undercroft.stage import Made, StageRun, stage

TEXTS = {
    "with": "The with statement\n\nIt wraps the execution of a block. Write to a@b.org.",
    "for": "The for statement\n\nIt iterates over the elements of a sequence.",
    "gone": "Removed by the policy.",
}


@stage("test_dataset", version=1, params=IndexSettings)
def make_dataset(run: StageRun, params: IndexSettings) -> Made:
    """A dataset as curating leaves it: one document removed, one address masked."""
    filled = {
        "id": list(TEXTS),
        "uri": [f"file:///{name}" for name in TEXTS],
        "title": [text.split("\n")[0] for text in TEXTS.values()],
        "text": list(TEXTS.values()),
    }
    empty = {f.name: pa.nulls(len(TEXTS), f.type) for f in DOCUMENTS if f.name not in filled}
    table = pa.table({**filled, **empty}).select(DOCUMENTS.names).cast(DOCUMENTS)
    version = run.project.lake.table("documents").overwrite(table)
    at = TEXTS["with"].index("a@b.org")
    masks = {"with": [{"start": at, "end": at + 7, "label": "[EMAIL]"}]}
    selection = [
        {"id": i, "kept": i != "gone", "rule": None, "value": None, "mask": masks.get(i, [])}
        for i in TEXTS
    ]
    out = run.workdir / "dataset"
    out.mkdir()
    pq.write_table(pa.Table.from_pylist(selection, SELECTION), out / "selection.parquet")
    meta = {"table": "documents", "version": version}
    return Made("dataset", run.project.name, path=out, meta=meta)


@pytest.fixture(scope="module")
def small_transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real, if tiny and untrained, BERT whose words are those of the texts."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    words = sorted({word for text in TEXTS.values() for word in text.lower().split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.open(tmp_path)


def made(project: Project, settings: IndexSettings) -> tuple[Artifact, Artifact, Artifact]:
    (dataset,) = make_dataset(project)
    (embedding,) = distil(project, settings)
    (searchable,) = index(project, settings, dataset=dataset, embedding=embedding)
    return dataset, embedding, searchable


def test_an_index_finds_the_kept_and_masked_passages(project, small_transformer):
    settings = IndexSettings(embedding=str(small_transformer), dimensions=8)
    dataset, embedding, searchable = made(project, settings)
    assert embedding.meta["dimensions"] == 8
    assert searchable.meta["documents"] == 2
    assert searchable.meta["chunks"] == 2
    assert searchable.meta["dataset"] == str(dataset.ref)
    table, version = project.table(searchable)
    retriever = Retriever(table, version, Embedder.load(project.path(embedding)))
    (best,) = retriever.search("with", 1)
    assert best.document == "with"
    assert "[EMAIL]" in best.text
    assert "a@b.org" not in best.text
    found = retriever.search("removed", 5)  # only the removed document has the word
    assert {passage.document for passage in found} == {"with", "for"}


def test_what_is_up_to_date_is_not_made_again(project, small_transformer):
    settings = IndexSettings(embedding=str(small_transformer), dimensions=8)
    first = made(project, settings)
    assert made(project, settings) == first
    (again,) = index(
        project,
        settings.model_copy(update={"chunk_chars": 300}),
        dataset=first[0],
        embedding=first[1],
    )
    assert again.ref.version == 2


def test_the_indexed_version_outlives_clean_up(project, small_transformer):
    settings = IndexSettings(embedding=str(small_transformer), dimensions=8)
    *_, searchable = made(project, settings)
    table, version = project.table(searchable)
    assert version in table.tags().values()


def test_a_dataset_outlives_clean_up_and_the_erasure_of_another_document(
    project, small_transformer
):
    settings = IndexSettings(embedding=str(small_transformer), dimensions=8)
    dataset, *_ = made(project, settings)
    documents = project.lake.table("documents")
    documents.overwrite(documents.read(limit=1))
    documents.maintain(timedelta(0))
    documents.purge(equals("id", "for"))
    assert read_dataset(project.lake, dataset)["id"].to_pylist() == ["with"]
