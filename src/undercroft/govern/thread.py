"""From any answer back to the documents, and from any document forward to the answers.

The ledger knows how artifacts came of each other. This adds the two ends that live in the lake:
documents, which are rows of artifacts, and answers, which are rows of the request log.
"""

from __future__ import annotations

from typing import Any, Literal

from undercroft.errors import NotFound
from undercroft.lake import equals
from undercroft.project import Project
from undercroft.records import Artifact, Edge, Lineage, Node

Direction = Literal["up", "down", "both"]
ANSWERS_SHOWN = 200


def thread(
    project: Project, name: str, direction: Direction = "both", depth: int | None = None
) -> Lineage:
    """The lineage around an artifact's ref, ``document:ID`` or ``answer:ID``.

    Raises `NotFound` when there is no such thing and `BadRef` when the name has no known form.
    """
    kind, _, identity = name.partition(":")
    if kind == "answer":
        return _around_answer(project, identity, direction, depth)
    if kind == "document":
        return _around_document(project, identity, direction, depth)
    return project.ledger.lineage(name, direction, depth)


def _around_answer(
    project: Project, answer: str, direction: Direction, depth: int | None
) -> Lineage:
    row = request_row(project, answer)
    root = Node(
        f"answer:{answer}", "answer", f"answer {answer}", {"at": row["at"], "model": row["model"]}
    )
    if direction == "down":
        return Lineage(root.id, (root,), ())
    nodes, edges = [root], []
    for passage in row["passages"]:
        document = document_node(passage["document"], passage["uri"])
        if document not in nodes:
            nodes.append(document)
            edges.append(Edge(document.id, root.id))
    found = Lineage(root.id, tuple(nodes), tuple(edges))
    adapters = str(row["model"]).split("+")[1:]  # the model itself is on the way to the route
    for source in (str(row["route"]), *adapters):
        above = project.ledger.lineage(source, "up", depth)
        found = _join(found, above)
        found = Lineage(root.id, found.nodes, (*found.edges, Edge(above.root, root.id)))
    return found


def _around_document(
    project: Project, document: str, direction: Direction, depth: int | None
) -> Lineage:
    row = document_row(project, document)
    root = document_node(document, row["uri"])
    found = Lineage(root.id, (root,), ())
    if direction == "up":
        source = Node(f"source:{row['source']}", "source", row["source"])
        return Lineage(root.id, (root, source), (Edge(source.id, root.id),))
    for artifact in raws_with(project, document):
        below = project.ledger.lineage(artifact.ref, "down", depth)
        found = _join(found, below)
        found = Lineage(root.id, found.nodes, (*found.edges, Edge(root.id, below.root)))
    for answer in answers_using(project, document):
        node = Node(f"answer:{answer['id']}", "answer", f"answer {answer['id']}")
        found = Lineage(root.id, (*found.nodes, node), (*found.edges, Edge(root.id, node.id)))
    return found


def _join(one: Lineage, other: Lineage) -> Lineage:
    nodes = {node.id: node for node in (*one.nodes, *other.nodes)}
    edges = dict.fromkeys((*one.edges, *other.edges))
    return Lineage(one.root, tuple(nodes.values()), tuple(edges))


def document_node(document: str, uri: str) -> Node:
    """A document as a vertex of the graph."""
    return Node(f"document:{document}", "document", uri or document, {"id": document})


def document_row(project: Project, document: str) -> dict[str, Any]:
    """What is known of a document, without its text. Raises `NotFound` with the nearest ids."""
    for name in ("documents", "raw"):
        table = project.lake.table(name)
        if not table.exists():
            continue
        columns = [c for c in table.schema.names if c not in ("text", "payload")]
        rows = table.read(columns, where=equals("id", document), limit=1).to_pylist()
        if rows:
            row: dict[str, Any] = rows[0]
            return row
    raise NotFound(
        f"There is no document {document!r}.",
        document,
        known_documents(project),
        "See the documents of a dataset with: undercroft show dataset:" + project.name,
    )


def known_documents(project: Project) -> list[str]:
    """The ids of all documents, for suggestions."""
    table = project.lake.table("documents")
    if not table.exists():
        return []
    ids: list[str] = table.read(["id"]).column("id").to_pylist()
    return ids


def request_row(project: Project, answer: str) -> dict[str, Any]:
    """One row of the request log. Raises `NotFound` with the nearest ids."""
    table = project.lake.table("requests")
    if table.exists():
        rows = table.read(where=equals("id", answer), limit=1).to_pylist()
        if rows:
            row: dict[str, Any] = rows[0]
            return row
    known = table.read(["id"]).column("id").to_pylist() if table.exists() else []
    raise NotFound(
        f"There is no answer {answer!r}.", answer, known, "Answers are written within seconds."
    )


def raws_with(project: Project, document: str) -> list[Artifact]:
    """The raw artifacts whose pinned table version holds ``document``."""
    found = []
    for artifact in project.ledger.artifacts("raw", project.name, limit=1000):
        table, version = project.table(artifact)
        try:
            if table.count(where=equals("id", document), version=version):
                found.append(artifact)
        except NotFound:
            continue  # a version that an erasure dropped as a whole
    return found


def answers_using(project: Project, document: str) -> list[dict[str, Any]]:
    """The newest answers that were given passages of ``document``: their id, time and model."""
    table = project.lake.table("requests")
    if not table.exists():
        return []
    rows = table.read(["id", "at", "model", "route", "passages"]).to_pylist()
    using = [
        {"id": row["id"], "at": row["at"], "model": row["model"], "route": row["route"]}
        for row in rows
        if any(passage["document"] == document for passage in row["passages"] or ())
    ]
    return sorted(using, key=lambda row: str(row["at"]), reverse=True)[:ANSWERS_SHOWN]
