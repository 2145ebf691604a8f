"""Lineage: the graph around any artifact, document or answer, as a drawing with links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from undercroft.project import Project
from undercroft.records import KINDS, Artifact, Lineage, Node

Direction = Literal["both", "up", "down"]
DIRECTIONS: tuple[Direction, ...] = ("both", "up", "down")
_PAGES = {"run": "/runs/", "document": "/documents/", "answer": "/answers/"}


@dataclass(frozen=True)
class Start:
    """Where one may begin: the newest artifact of each kind."""

    newest: Sequence[Artifact]


@dataclass(frozen=True)
class LineagePage:
    ref: str
    direction: Direction
    lineage: Lineage
    svg: str


def start(project: Project) -> Start:
    """The newest artifact of each kind, in the order of the road."""
    found = [project.ledger.artifacts(kind=kind, limit=1) for kind in KINDS]
    return Start([artifact for artifacts in found for artifact in artifacts])


def around(project: Project, ref: str, direction: str = "both") -> LineagePage:
    """The graph around ``ref``: a ref, ``answer:ID`` or ``document:ID``.

    Raises `NotFound` or `BadRef`.
    """
    from undercroft.govern import thread
    from undercroft.ledger.svg import as_svg

    way: Direction = direction if direction in DIRECTIONS else "both"
    graph = thread(project, ref, way)
    return LineagePage(ref, way, graph, as_svg(graph, address))


def address(node: Node) -> str | None:
    """The page of a node; a source of documents has none."""
    kind, _, name = node.id.partition(":")
    if kind == "source":
        return None
    return f"{_PAGES[kind]}{name}" if kind in _PAGES else f"/artifacts/{node.id}"
