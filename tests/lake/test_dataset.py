"""The kept and masked documents of a dataset artifact."""

import time
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from undercroft.lake import equals, read_dataset
from undercroft.lake.dataset import mask_text, masked_chars
from undercroft.lake.schemas import DOCUMENTS, SELECTION
from undercroft.records import Artifact, Ref


def documents(count: int) -> pa.Table:
    filled = {
        "id": [f"d{i}" for i in range(count)],
        "uri": [f"file:///{i}" for i in range(count)],
        "title": [f"Title {i}" for i in range(count)],
        "text": [f"Write to a{i}@b.org please. " * 20 for i in range(count)],
    }
    empty = {f.name: pa.nulls(count, f.type) for f in DOCUMENTS if f.name not in filled}
    table = pa.table({**filled, **empty}).select(DOCUMENTS.names)
    return table.cast(DOCUMENTS)


def dataset(lake, tmp_path, selection: list[dict], version: int) -> Artifact:
    made = tmp_path / "made"
    made.mkdir()
    pq.write_table(pa.Table.from_pylist(selection, SELECTION), made / "selection.parquet")
    uri, digest, size = lake.blobs.put(made, "dataset", "docs")
    meta = {"table": "documents", "version": version}
    return Artifact(Ref("dataset", "docs", 1), digest, uri, size, datetime.now(UTC), "run", meta)


def chosen(document: str, *spans: tuple[int, int, str], kept: bool = True) -> dict:
    mask = [{"start": a, "end": b, "label": label} for a, b, label in spans]
    return {"id": document, "kept": kept, "rule": None, "value": None, "mask": mask}


def test_kept_documents_come_masked_in_the_order_of_the_selection(lake, tmp_path):
    version = lake.table("documents").append(documents(4))
    artifact = dataset(
        lake,
        tmp_path,
        [chosen("d3"), chosen("d0", (9, 17, "[EMAIL]")), chosen("d1", kept=False)],
        version,
    )
    found = read_dataset(lake, artifact)
    assert found["id"].to_pylist() == ["d3", "d0"]
    assert found["text"][1].as_py().startswith("Write to [EMAIL] please. Write to a0@b.org")
    assert found["text"][0].as_py().startswith("Write to a3@b.org")
    assert read_dataset(lake, artifact, ["title"]).to_pydict() == {"title": ["Title 3", "Title 0"]}


def test_later_writes_to_the_table_do_not_show(lake, tmp_path):
    table = lake.table("documents")
    version = table.append(documents(2))
    table.overwrite(documents(1))
    artifact = dataset(lake, tmp_path, [chosen("d1")], version)
    assert read_dataset(lake, artifact).num_rows == 1


def test_an_erased_document_is_left_out(lake, tmp_path):
    table = lake.table("documents")
    version = table.append(documents(3))
    table.tag("dataset.docs.1", version)
    artifact = dataset(lake, tmp_path, [chosen(f"d{i}") for i in range(3)], version)
    table.purge(equals("id", "d1"))
    assert read_dataset(lake, artifact)["id"].to_pylist() == ["d0", "d2"]


def test_fifty_thousand_documents_are_read_in_seconds(lake, tmp_path):
    version = lake.table("documents").append(documents(50_000))
    selection = [
        chosen(f"d{i}", *([(9, 17, "[EMAIL]")] if i % 10 == 0 else [])) for i in range(50_000)
    ]
    artifact = dataset(lake, tmp_path, selection, version)
    began = time.perf_counter()
    found = read_dataset(lake, artifact)
    assert found.num_rows == 50_000
    assert time.perf_counter() - began < 5


@given(
    st.text(max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6),
)
def test_masking_hides_every_masked_character_and_no_other(text, pairs):
    spans = [(min(p), min(max(p), len(text))) for p in pairs if min(p) < min(max(p), len(text))]
    mask = [{"start": a, "end": b, "label": "\0"} for a, b in spans]
    masked = mask_text(text, mask)
    assert len(masked) == len(text) - masked_chars(mask)
    hidden = {i for a, b in spans for i in range(a, b)}
    left = "".join(c for i, c in enumerate(text) if i not in hidden)
    assert masked.count("\0") - text.count("\0") <= len(spans)
    assert masked.replace("\0", "") == left.replace("\0", "")
