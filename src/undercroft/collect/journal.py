"""The pages of a crawl as they come, on disk, so that a killed crawl goes on where it was."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Visit:
    """One address visited: what came of it, and where it leads.

    ``outcome`` is ``ok``, ``unchanged`` (the server says so), ``listing`` (a sitemap or a feed, no
    document) or ``rejected``. ``usage`` is what the publisher says (`collect.usage`).
    """

    url: str
    depth: int
    outcome: str
    final_url: str = ""
    reason: str = ""
    mime: str = ""
    charset: str = ""
    etag: str = ""
    last_modified: str = ""
    size_bytes: int = 0
    links: tuple[str, ...] = ()
    usage: str = ""
    body: bytes = b""


class Journal:
    """A file of visits, one a line; bodies are sealed by ``keep`` and opened by ``kept``."""

    def __init__(
        self, path: Path, keep: Callable[[bytes], bytes], kept: Callable[[bytes], bytes]
    ) -> None:
        self._path = path
        self._keep = keep
        self._kept = kept

    def append(self, visit: Visit) -> None:
        """Write ``visit`` down; it is on disk when this returns."""
        fields = asdict(visit)
        fields["body"] = base64.b85encode(self._keep(visit.body)).decode() if visit.body else ""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def visits(self) -> Iterator[Visit]:
        """The visits written so far; a line torn by a crash ends them and is cut off."""
        if not self._path.exists():
            return
        good = 0
        with self._path.open("rb") as file:
            for line in file:
                fields = _parsed(line)
                if fields is None:
                    break
                good += len(line)
                body = fields.pop("body")
                visit = Visit(**{**fields, "links": tuple(fields["links"])})
                opened = self._kept(base64.b85decode(body)) if body else b""
                yield replace(visit, body=opened)
        if good < self._path.stat().st_size:
            os.truncate(self._path, good)

    def discard(self) -> None:
        """Forget every visit."""
        self._path.unlink(missing_ok=True)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return fields if line.endswith(b"\n") else None
