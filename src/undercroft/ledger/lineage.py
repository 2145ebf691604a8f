"""The lineage graph around an artifact: artifact -> run -> artifact -> …"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import Connection, Row, select

from undercroft.ledger.tables import artifacts, run_inputs, runs
from undercroft.records import Edge, Lineage, Node, Ref

Direction = Literal["up", "down", "both"]

_Item = TypeVar("_Item")

_BATCH: Final = 500  # ids in one query
_SHOWN: Final = ("finished", "running")  # runs that failed made nothing; their inputs stay clear

# A hop is one run away: (run, artifact on this side of it, artifact on the other side).
_Hop = tuple[Row[Any], int, Row[Any] | None]
_Hops = Callable[[Connection, Sequence[int]], Iterator[_Hop]]


def around(
    connection: Connection, root: Row[Any], direction: Direction, depth: int | None
) -> Lineage:
    """The graph around the artifact in ``root``, breadth first.

    "both" is everything it came from and everything that came of it; other things made of the same
    ancestors are not part of either. ``depth`` counts runs away from the root.
    """
    found: dict[int | str, Node] = {root.id: artifact_node(root)}  # by row id
    edges: dict[Edge, None] = {}
    if direction != "down":
        _follow(connection, root, _makers, depth=depth, found=found, edges=edges, upwards=True)
    if direction != "up":
        _follow(connection, root, _users, depth=depth, found=found, edges=edges, upwards=False)
    return Lineage(str(_ref(root)), tuple(found.values()), tuple(edges))


def _follow(
    connection: Connection,
    root: Row[Any],
    hops: _Hops,
    *,
    depth: int | None,
    found: dict[int | str, Node],
    edges: dict[Edge, None],
    upwards: bool,
) -> None:
    """Add what is reached from ``root`` by ``hops`` to ``found`` and ``edges``."""
    known = {root.id: root}
    frontier, level = [root.id], 0
    while frontier and (depth is None or level < depth):
        reached: list[int] = []
        for run, near, far in hops(connection, frontier):
            node = found.setdefault(run.id, run_node(run))
            edges[_edge(node.id, str(_ref(known[near])), upwards)] = None
            if far is None:
                continue
            if far.id not in known:
                known[far.id] = far
                reached.append(far.id)
            other = found.setdefault(far.id, artifact_node(far))
            edges[_edge(other.id, node.id, upwards)] = None
        frontier, level = reached, level + 1


def _edge(far: str, near: str, upwards: bool) -> Edge:
    return Edge(far, near) if upwards else Edge(near, far)


def _makers(connection: Connection, ids: Sequence[int]) -> Iterator[_Hop]:
    """For each of ``ids``: the run that made it, with each of its inputs (None: it took none)."""
    for part in _parts(ids):
        made_by = select(artifacts.c.id, artifacts.c.run_id).where(artifacts.c.id.in_(part))
        maker = {row.id: row.run_id for row in connection.execute(made_by)}
        by_id = _runs(connection, maker.values())
        took = _inputs(connection, by_id)
        for artifact in part:
            run = by_id[maker[artifact]]
            for far in took.get(run.id) or [None]:
                yield run, artifact, far


def _users(connection: Connection, ids: Sequence[int]) -> Iterator[_Hop]:
    """For each of ``ids``: the runs that used it with each of their outputs (None: none yet)."""
    for part in _parts(ids):
        used_by = select(run_inputs.c.artifact_id, run_inputs.c.run_id).where(
            run_inputs.c.artifact_id.in_(part)
        )
        uses: dict[str, list[int]] = {}
        for artifact, run_id in connection.execute(used_by):
            uses.setdefault(run_id, []).append(artifact)
        by_id = _runs(connection, uses)
        made = _outputs(connection, by_id)
        for run in by_id.values():
            if run.status in _SHOWN:
                for artifact in uses[run.id]:
                    for far in made.get(run.id) or [None]:
                        yield run, artifact, far


def _runs(connection: Connection, ids: Iterable[str]) -> dict[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    for part in _parts(sorted(set(ids))):
        query = select(runs).where(runs.c.id.in_(part)).order_by(runs.c.started_at, runs.c.id)
        found.update({row.id: row for row in connection.execute(query)})
    return found


def _inputs(connection: Connection, ids: Iterable[str]) -> dict[str, list[Row[Any] | None]]:
    found: dict[str, list[Row[Any] | None]] = {}
    for part in _parts(list(ids)):
        query = (
            select(run_inputs.c.run_id.label("taken_by"), artifacts)
            .join(artifacts, artifacts.c.id == run_inputs.c.artifact_id)
            .where(run_inputs.c.run_id.in_(part))
            .order_by(run_inputs.c.run_id, run_inputs.c.position)
        )
        for row in connection.execute(query):
            found.setdefault(row.taken_by, []).append(row)
    return found


def _outputs(connection: Connection, ids: Iterable[str]) -> dict[str, list[Row[Any] | None]]:
    found: dict[str, list[Row[Any] | None]] = {}
    for part in _parts(list(ids)):
        query = select(artifacts).where(artifacts.c.run_id.in_(part)).order_by(artifacts.c.id)
        for row in connection.execute(query):
            found.setdefault(row.run_id, []).append(row)
    return found


def _parts(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def artifact_node(row: Row[Any]) -> Node:
    """The node of a row of ``artifacts``; its id is its ref."""
    detail = {
        "digest": row.digest,
        "uri": row.uri,
        "size_bytes": row.size_bytes,
        "created_at": row.created_at.isoformat(),
    }
    ref = str(_ref(row))
    return Node(ref, row.kind, ref, detail)


def run_node(row: Row[Any]) -> Node:
    """The node of a row of ``runs``; its id is ``run:`` and the run's id."""
    detail = {
        "run": row.id,
        "status": row.status,
        "started_at": row.started_at.isoformat(),
        "wall_s": row.wall_s,
        "energy_wh": row.energy_wh,
        "attempt": row.attempt,
    }
    return Node(f"run:{row.id}", "run", row.stage, detail)


def _ref(row: Row[Any]) -> Ref:
    return Ref(row.kind, row.name, row.version)
