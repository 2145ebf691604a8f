"""Drawing lineage: as a tree of text, as JSON, and (in `svg`) as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from undercroft.ledger.svg import as_svg
from undercroft.records import Lineage, Node

__all__ = ["as_json", "as_svg", "as_text"]


def as_json(lineage: Lineage) -> dict[str, Any]:
    """The graph in the form of ``--json``: ``root``, ``nodes``, ``edges``."""
    return {
        "root": lineage.root,
        "nodes": [
            {"id": node.id, "kind": node.kind, "label": node.label, "detail": dict(node.detail)}
            for node in lineage.nodes
        ],
        "edges": [{"source": edge.source, "target": edge.target} for edge in lineage.edges],
    }


def as_text(lineage: Lineage) -> str:
    """The graph as a tree: what the root was made from, then what was made of it.

    What is reached a second time is named again with "(see above)", without what follows it.
    """
    nodes = {node.id: node for node in lineage.nodes}
    up: dict[str, list[str]] = {}
    down: dict[str, list[str]] = {}
    for edge in lineage.edges:
        up.setdefault(edge.target, []).append(edge.source)
        down.setdefault(edge.source, []).append(edge.target)
    lines = [_line(nodes[lineage.root])]
    for title, neighbours in (("made from", up), ("used for", down)):
        if neighbours.get(lineage.root):
            lines += ["", title, *_branches(lineage.root, neighbours, nodes)]
    return "\n".join(lines)


def _branches(
    root: str, neighbours: Mapping[str, Sequence[str]], nodes: Mapping[str, Node]
) -> list[str]:
    """The tree below ``root``, depth first, without recursion: lineage may be deep."""
    lines: list[str] = []
    shown = {root}
    stack = _children(root, "", neighbours)
    while stack:
        name, indent, last = stack.pop()
        seen = name in shown
        shown.add(name)
        again = " (see above)" if seen and neighbours.get(name) else ""
        lines.append(f"{indent}{'└── ' if last else '├── '}{_line(nodes[name])}{again}")
        if not seen:
            stack += _children(name, indent + ("    " if last else "│   "), neighbours)
    return lines


def _children(
    name: str, indent: str, neighbours: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, bool]]:
    """What hangs below ``name`` as (id, indent, whether it is the last), the first on top."""
    children = list(neighbours.get(name, ()))
    return [(child, indent, child == children[-1]) for child in reversed(children)]


def _line(node: Node) -> str:
    if node.kind != "run":
        return node.label
    return " · ".join((node.label, *_facts(node)))


def _facts(node: Node) -> list[str]:
    """The few words about a run that stand beside its stage."""
    detail = node.detail
    words = [str(detail.get("run", node.id))]
    if detail.get("status") == "finished":
        words.append(f"{float(detail.get('wall_s', 0.0)):.1f} s")
    else:
        words.append(str(detail.get("status", "")))
    return words
