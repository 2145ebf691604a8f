"""What sources give -> the difference to what the table ``raw`` holds, written as it comes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from undercroft.collect.documents import Collected
from undercroft.collect.held import Held
from undercroft.settings import CollectSettings

if TYPE_CHECKING:
    from undercroft.lake.table import Table
    from undercroft.trust import Vault

_BATCH_BYTES: Final = 64_000_000
_BATCH_ROWS: Final = 5_000
_DELETE_ROWS: Final = 10_000


@dataclass
class Writer:
    """Takes what comes from the sources, one after the other.

    ``forgotten`` are the ids of documents that may never come in again.
    """

    table: Table
    held: Held
    vault: Vault
    params: CollectSettings
    forgotten: set[str]
    _pending: list[tuple[str, Collected]] = field(default_factory=list[tuple[str, Collected]])
    _pending_bytes: int = 0
    _added: set[int] = field(default_factory=set[int])

    def take(self, spec: str, item: Collected) -> None:
        """One document or refusal from the source ``spec``."""
        self._pending.append((spec, item))
        self._pending_bytes += len(item.payload)
        if self._pending_bytes > _BATCH_BYTES or len(self._pending) >= _BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is new or says something else; all of it is on disk when this returns."""
        import pyarrow as pa

        from undercroft.lake.schemas import RAW

        new: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        for spec, item, at in self._first_of_each():
            row = self._row(spec, item)
            if at >= 0 and not self.held.differs(at, row["content"], row["etag"]):
                continue
            aad = b"raw:" + item.id.encode()
            sealed = None if item.reason else self.vault.seal(item.subject, item.payload, aad)
            (changed if at >= 0 else new).append({**row, "payload": sealed})
        if changed:
            self.table.upsert(pa.Table.from_pylist(changed, schema=RAW))
        if new:  # known to be new, which spares looking for them in the table
            self.table.append(pa.Table.from_pylist(new, schema=RAW))
        self._pending, self._pending_bytes = [], 0

    def _first_of_each(self) -> Iterator[tuple[str, Collected, int]]:
        """What is pending and was not taken yet, with its row among those held or -1.

        Where two sources lead to one document the first has it.
        """
        places = self.held.index([item.id for _, item in self._pending])
        for (spec, item), at in zip(self._pending, places.tolist(), strict=True):
            key = int(item.id, 16)
            is_taken = self.held.is_seen[at] if at >= 0 else key in self._added
            if is_taken or item.id in self.forgotten:
                continue
            if at >= 0:
                self.held.is_seen[at] = True
            else:
                self._added.add(key)
            yield spec, item, at

    def _row(self, spec: str, item: Collected) -> dict[str, Any]:
        row = {
            "id": item.id,
            "source": spec,
            "uri": item.uri,
            "licence": item.licence or self.params.licence,
            "consent": item.consent or self.params.consent,
            "usage": item.usage,
            "subject": item.subject,
            "mime": item.mime,
            "title": item.title,
            "group": item.group or item.uri,
            "file": item.file or item.uri,
            "sha256": hashlib.sha256(item.payload).hexdigest() if not item.reason else "",
            "size_bytes": item.size_bytes or len(item.payload),
            "status": "rejected" if item.reason else "ok",
            "reason": item.reason,
            "last_modified": item.last_modified,
        }
        said = json.dumps(list(row.values())).encode()
        content = hashlib.sha256(said).digest()[:16]
        return {**row, "etag": item.etag, "content": content, "fetched_at": datetime.now(UTC)}

    def finish(self) -> int:
        """Drop what the sources no longer have; the version that holds the rest."""
        from undercroft.lake import any_of

        self.flush()
        gone = self.held.gone()
        for start in range(0, len(gone), _DELETE_ROWS):
            self.table.delete(any_of("id", gone[start : start + _DELETE_ROWS]))
        return self.table.version if self.table.exists() else 0
