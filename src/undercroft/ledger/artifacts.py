"""Artifacts in the database: finding them by ref, adding versions, naming versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, func, insert, select

from undercroft.errors import BadInput, NotFound
from undercroft.ledger.tables import aliases, artifacts
from undercroft.records import KINDS, Artifact, Ref
from undercroft.trust.plain import plain_json
from undercroft.trust.transactions import now

_MAX_NEAREST: Final = 5000  # names looked at to find the nearest


@dataclass(frozen=True, slots=True)
class MadeArtifact:
    """What a run made, before the ledger has given it a version."""

    kind: str
    name: str
    digest: str
    uri: str
    size_bytes: int
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])


def from_row(row: Row[Any]) -> Artifact:
    """The record of a row of ``artifacts``."""
    return Artifact(
        ref=Ref(row.kind, row.name, row.version),
        digest=row.digest,
        uri=row.uri,
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        run_id=row.run_id,
        meta=row.meta,
    )


def row_of(connection: Connection, ref: Ref) -> Row[Any]:
    """The row that ``ref`` names: by version, by alias, or the newest.

    Raises `NotFound` with the nearest names, versions or aliases.
    """
    query = select(artifacts).where(artifacts.c.kind == ref.kind, artifacts.c.name == ref.name)
    if ref.version is not None:
        query = query.where(artifacts.c.version == ref.version)
    elif ref.alias is not None:
        query = query.join(
            aliases,
            (aliases.c.kind == artifacts.c.kind)
            & (aliases.c.name == artifacts.c.name)
            & (aliases.c.version == artifacts.c.version),
        ).where(aliases.c.alias == ref.alias)
    else:
        query = query.order_by(artifacts.c.version.desc()).limit(1)
    row = connection.execute(query).first()
    if row is None:
        raise _not_found(connection, ref)
    return row


def _not_found(connection: Connection, ref: Ref) -> NotFound:
    """Say what of ``ref`` is wrong: its name, its version or its alias."""
    same = (artifacts.c.kind == ref.kind, artifacts.c.name == ref.name)
    newest = connection.scalar(select(func.max(artifacts.c.version)).where(*same))
    if newest is None:
        pairs = select(artifacts.c.kind, artifacts.c.name).distinct().limit(_MAX_NEAREST)
        known = [f"{kind}:{name}" for kind, name in connection.execute(pairs)]
        return NotFound(f"There is no {ref}.", f"{ref.kind}:{ref.name}", known)
    base = f"{ref.kind}:{ref.name}"
    if ref.alias is not None:
        names = aliases_of(connection, ref.kind, ref.name)
        known = [f"{base}@{alias}" for alias in names]
        return NotFound(
            f"{base} has no alias {ref.alias!r}.", str(ref), known, f"See: undercroft show {base}"
        )
    return NotFound(f"{base} has no version {ref.version}.", do=f"Its newest is {base}@{newest}.")


def newest_first(
    kind: str | None, name: str | None, limit: int, offset: int
) -> Select[tuple[Any, ...]]:
    """The query for a page of artifacts."""
    query = select(artifacts).order_by(artifacts.c.id.desc()).limit(limit).offset(offset)
    if kind is not None:
        query = query.where(artifacts.c.kind == kind)
    if name is not None:
        query = query.where(artifacts.c.name == name)
    return query


def add(connection: Connection, run_id: str, made: Sequence[MadeArtifact]) -> list[Artifact]:
    """Give each of ``made`` the next version of its name.

    The caller's transaction must be serialised (`trust.transactions.serialise`): "the newest plus
    one" is only then nobody else's.
    """
    at = now()
    added = []
    for item in made:
        check(item)
        same = (artifacts.c.kind == item.kind, artifacts.c.name == item.name)
        newest = connection.scalar(select(func.max(artifacts.c.version)).where(*same))
        artifact = Artifact(
            ref=Ref(item.kind, item.name, (newest or 0) + 1),
            digest=item.digest,
            uri=item.uri,
            size_bytes=item.size_bytes,
            created_at=at,
            run_id=run_id,
            meta=plain_json(item.meta),
        )
        connection.execute(
            insert(artifacts).values(
                kind=item.kind,
                name=item.name,
                version=artifact.ref.version,
                digest=item.digest,
                uri=item.uri,
                size_bytes=item.size_bytes,
                created_at=at,
                run_id=run_id,
                meta=artifact.meta,
            )
        )
        added.append(artifact)
    return added


def check(item: MadeArtifact) -> None:
    """Raise `BadRef` or `BadInput` unless a ref can name ``item``."""
    ref = Ref.parse(f"{item.kind}:{item.name}")
    if (ref.kind, ref.name) != (item.kind, item.name) or ref.alias or ref.version:
        raise BadInput(
            f"{item.name!r} cannot be the name of an artifact.",
            "Names are lower-case letters, digits, dots, dashes and underscores.",
            f"Kinds are {', '.join(KINDS)}.",
        )


def set_alias(connection: Connection, row: Row[Any], alias: str, actor: str) -> None:
    """Have ``alias`` mean the artifact in ``row`` from now on.

    Raises `BadInput` for an alias that would read as a version or is not one word.
    """
    if alias.isdigit() or Ref.parse(f"{row.kind}:{row.name}@{alias}").alias != alias:
        raise BadInput(
            f"{alias!r} cannot be an alias.", "It reads as a version.", "Use a word, such as live."
        )
    key = {"kind": row.kind, "name": row.name, "alias": alias}
    connection.execute(
        delete(aliases).where(*(aliases.c[column] == value for column, value in key.items()))
    )
    connection.execute(
        insert(aliases).values(**key, version=row.version, actor=actor, set_at=now())
    )


def aliases_of(connection: Connection, kind: str, name: str) -> dict[str, int]:
    """Each alias of ``kind:name`` and the version it means."""
    query = select(aliases.c.alias, aliases.c.version).where(
        aliases.c.kind == kind, aliases.c.name == name
    )
    return {row.alias: row.version for row in connection.execute(query.order_by(aliases.c.alias))}
