"""Documents: what the policy kept and removed and why, and one document with its findings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from undercroft.console.views.lists import PAGE_SIZE, Paged
from undercroft.errors import NotFound
from undercroft.lake import any_of, equals, quote
from undercroft.project import Project
from undercroft.records import Artifact, Ref

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

STATES = ("kept", "removed")
SHOWN_CHARS = 20_000
_LIST_COLUMNS = ("id", "title", "uri", "language", "num_chars", "mime")
_RAW_COLUMNS = (
    "id", "uri", "source", "fetched_at", "licence", "consent", "status", "reason", "size_bytes",
)  # fmt: skip
_NO_SIGNALS = frozenset({"text", "findings", "mask", "bands", "lines", "made_from", "digest"})


@dataclass(frozen=True)
class DocumentRow:
    id: str
    title: str
    uri: str
    language: str
    num_chars: int
    kept: bool
    rule: str
    value: str
    num_masks: int


@dataclass(frozen=True)
class Source:
    """A passage shown to the model; ``number`` is what an answer cites it by."""

    number: int
    document: str
    title: str
    uri: str
    start: int
    end: int
    text: str
    cited: bool


@dataclass(frozen=True)
class DocumentList:
    """``rules`` counts the removed by rule, commonest first."""

    dataset: Artifact | None
    documents: Paged[DocumentRow]
    num_kept: int
    num_removed: int
    rules: Sequence[tuple[str, int]]
    num_rejected: int
    state: str
    rule: str
    query: str


@dataclass(frozen=True)
class DocumentPage:
    """One document; ``text`` is as the dataset gives it (masked), cut to a window.

    ``start`` and ``end`` are the marked passage as offsets into ``text``; both 0: none.
    """

    id: str
    title: str
    uri: str
    dataset: Artifact | None
    kept: bool | None
    rule: str
    value: str
    signals: Mapping[str, Any]
    origin: Mapping[str, Any]
    findings: Sequence[Mapping[str, Any]]
    masks: Sequence[Mapping[str, Any]]
    num_chunks: int
    text: str
    text_from: int
    text_length: int
    start: int = 0
    end: int = 0


def listed(
    project: Project, page: int = 1, state: str = "", rule: str = "", query: str = ""
) -> DocumentList:
    """One page of the newest dataset's documents.

    ``state`` is kept, removed or nothing for both; ``rule`` narrows the removed; ``query`` is
    looked for in title, address and text, without regard to case.
    """
    state = state if state in STATES else ""
    dataset = newest_dataset(project)
    if dataset is None:
        rejected = _num_rejected(project)
        return DocumentList(None, Paged([], 0, page), 0, 0, [], rejected, state, rule, query)
    selection = _selection(str(project.path(dataset)))
    num_kept = int(_sum(selection["kept"]))
    found = _in_state(selection, state, rule)
    if query:
        found = _of_ids(found, _matching(project, dataset, query))
    shown = found.slice((page - 1) * PAGE_SIZE, PAGE_SIZE)
    return DocumentList(
        dataset=dataset,
        documents=Paged(_rows(project, dataset, shown), found.num_rows, page),
        num_kept=num_kept,
        num_removed=selection.num_rows - num_kept,
        rules=_rules(str(project.path(dataset))),
        num_rejected=_num_rejected(project),
        state=state,
        rule=rule,
        query=query,
    )


def one(
    project: Project, document_id: str, start: int = 0, end: int = 0, whole: bool = False
) -> DocumentPage:
    """One document with everything measured about it; raises `NotFound`."""
    dataset = newest_dataset(project)
    where = equals("id", document_id)
    origin = _first(project, "raw", where, _RAW_COLUMNS)
    row = _document_row(project, dataset, where)
    if row is None and origin is None:
        raise NotFound(
            f"There is no document {document_id}.",
            do="It may have been erased; the list of documents shows those that are there.",
        )
    chosen = _selected(project, dataset, document_id)
    row = (chosen or {}) | (row or {})  # what it has to do with others stands in the selection
    masks = chosen["mask"] or [] if chosen else []
    rules = {rule["name"]: rule for rule in (dataset.meta.get("rules") or ())} if dataset else {}
    text = _masked(row.get("text") or "", masks)
    begin, window = _window(text, start, whole)
    return DocumentPage(
        id=document_id,
        title=row.get("title") or "",
        uri=row.get("uri") or "",
        dataset=dataset,
        kept=chosen["kept"] if chosen else None,
        rule=(chosen["rule"] or "") if chosen else "",
        value=compared(chosen, rules) if chosen else "",
        signals={key: value for key, value in row.items() if key not in _NO_SIGNALS},
        origin=origin or {},
        findings=row.get("findings") or [],
        masks=masks,
        num_chunks=_num_chunks(project, document_id),
        text=window,
        text_from=begin,
        text_length=len(text),
        start=max(0, start - begin),
        end=max(0, min(end - begin, len(window))),
    )


def newest_dataset(project: Project) -> Artifact | None:
    """The newest dataset of this project, or None before the first."""
    try:
        return project.ledger.artifact(Ref("dataset", project.name))
    except NotFound:
        return None


def num_kept_and_removed(project: Project) -> tuple[int, int] | None:
    """How many documents the newest dataset keeps and leaves out; None before the first."""
    dataset = newest_dataset(project)
    if dataset is None:
        return None
    selection = _selection(str(project.path(dataset)))
    kept = int(_sum(selection["kept"]))
    return kept, selection.num_rows - kept


def sources(
    project: Project, passages: Sequence[Mapping[str, Any]], cited: Collection[int]
) -> list[Source]:
    """Passages with ``document``, ``title``, ``uri``, ``start`` and ``end``, in the order shown,
    with their text; that of an erased document is empty."""
    texts = _texts(project, {passage["document"] for passage in passages})
    return [
        Source(
            number=number,
            document=passage["document"],
            title=passage["title"] or "",
            uri=passage["uri"] or "",
            start=passage["start"],
            end=passage["end"],
            text=texts.get(passage["document"], "")[passage["start"] : passage["end"]],
            cited=number in cited,
        )
        for number, passage in enumerate(passages, start=1)
    ]


def _texts(project: Project, ids: Collection[str]) -> dict[str, str]:
    """The masked text of documents by id; erased ones are left out."""
    dataset = newest_dataset(project)
    if dataset is None or not ids:
        return {}
    table = project.lake.table(str(dataset.meta["table"]))
    rows = table.read(["id", "text"], any_of("id", ids), int(dataset.meta["version"])).to_pylist()
    chosen = _selection(str(project.path(dataset)))
    masks = {row["id"]: row["mask"] or [] for row in _of_ids(chosen, ids).to_pylist()}
    return {row["id"]: _masked(row["text"] or "", masks.get(row["id"], [])) for row in rows}


# ---- the selection: immutable, so it is read once -------------------------------------------


@lru_cache(maxsize=4)
def _selection(folder: str) -> pa.Table:
    import pyarrow.parquet as pq

    from undercroft.lake.dataset import SELECTION_FILE

    return pq.read_table(f"{folder}/{SELECTION_FILE}")


@lru_cache(maxsize=4)
def _rules(folder: str) -> tuple[tuple[str, int], ...]:
    import pyarrow.compute as pc

    selection = _selection(folder)
    counts = pc.value_counts(selection.filter(pc.invert(selection["kept"]))["rule"]).to_pylist()
    pairs = [(str(entry["values"] or "unnamed"), int(entry["counts"])) for entry in counts]
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def _in_state(selection: pa.Table, state: str, rule: str) -> pa.Table:
    import pyarrow.compute as pc

    if state:
        kept = selection["kept"]
        selection = selection.filter(kept if state == "kept" else pc.invert(kept))
    return selection.filter(pc.equal(selection["rule"], rule)) if rule else selection


def _of_ids(selection: pa.Table, ids: Any) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(ids), pa.string())
    return selection.filter(pc.is_in(selection["id"], value_set=wanted))


def _matching(project: Project, dataset: Artifact, query: str) -> set[str]:
    literal = quote(query.lower())
    where = " OR ".join(f"contains(lower({name}), {literal})" for name in ("title", "uri", "text"))
    table = project.lake.table(str(dataset.meta["table"]))
    found = table.read(["id"], where, int(dataset.meta["version"]))
    return set(found["id"].to_pylist())


def _rows(project: Project, dataset: Artifact, selection: pa.Table) -> list[DocumentRow]:
    chosen = selection.to_pylist()
    table = project.lake.table(str(dataset.meta["table"]))
    where = any_of("id", [row["id"] for row in chosen])
    read = table.read(_LIST_COLUMNS, where, int(dataset.meta["version"])).to_pylist()
    documents = {row["id"]: row for row in read}
    rules = {rule["name"]: rule for rule in dataset.meta.get("rules") or ()}
    return [_row(row, documents.get(row["id"]), rules) for row in chosen]


def _row(
    chosen: Mapping[str, Any], document: Mapping[str, Any] | None, rules: Mapping[str, Row]
) -> DocumentRow:
    document = document or {"title": "Erased document"}
    return DocumentRow(
        id=chosen["id"],
        title=document.get("title") or document.get("uri") or chosen["id"],
        uri=document.get("uri") or "",
        language=document.get("language") or "",
        num_chars=document.get("num_chars") or 0,
        kept=chosen["kept"],
        rule=chosen["rule"] or "",
        value=compared(chosen, rules),
        num_masks=len(chosen["mask"] or []),
    )


def compared(chosen: Mapping[str, Any], rules: Mapping[str, Row]) -> str:
    """The value that decided, and what its rule compared it with where the policy says so."""
    value = str(chosen["value"] or "")
    rule = rules.get(chosen["rule"] or "")
    if rule is None or not value:
        return value
    signal = str(rule["signal"]).replace("num_", "").replace("_", " ")
    return f"{signal}: {value} {rule['test']} {rule['threshold']}"


def _selected(project: Project, dataset: Artifact | None, document_id: str) -> Row | None:
    if dataset is None:
        return None
    rows = _of_ids(_selection(str(project.path(dataset))), [document_id]).to_pylist()
    return rows[0] if rows else None


def _document_row(project: Project, dataset: Artifact | None, where: str) -> Row | None:
    if dataset is None:
        return None
    table = project.lake.table(str(dataset.meta["table"]))
    rows = table.read(where=where, version=int(dataset.meta["version"])).to_pylist()
    return rows[0] if rows else None


def _first(project: Project, name: str, where: str, columns: Sequence[str]) -> Row | None:
    table = project.lake.table(name)
    if not table.exists():
        return None
    rows = table.read(columns, where, limit=1).to_pylist()
    return rows[0] if rows else None


def _num_chunks(project: Project, document_id: str) -> int:
    table = project.lake.table("vectors")
    return table.count(equals("document", document_id)) if table.exists() else 0


def _num_rejected(project: Project) -> int:
    table = project.lake.table("raw")
    return table.count(equals("status", "rejected")) if table.exists() else 0


def _masked(text: str, masks: Sequence[Mapping[str, Any]]) -> str:
    from undercroft.lake.dataset import mask_text

    return mask_text(text, masks) if masks else text


def _window(text: str, start: int, whole: bool) -> tuple[int, str]:
    """Where the shown part of a long text begins, and the part."""
    if whole or len(text) <= SHOWN_CHARS:
        return 0, text
    begin = max(0, min(start - SHOWN_CHARS // 4, len(text) - SHOWN_CHARS))
    return begin, text[begin : begin + SHOWN_CHARS]


def _sum(flags: Any) -> int:
    import pyarrow.compute as pc

    return pc.sum(flags).as_py() or 0
