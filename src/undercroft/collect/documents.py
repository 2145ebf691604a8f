"""What a source gives: documents, refusals, and the word that something is as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from undercroft.settings import CollectSettings

MARKDOWN = "text/markdown"
HTML = "text/html"
PLAIN = "text/plain"
PDF = "application/pdf"


@dataclass(frozen=True, slots=True)
class Collected:
    """One document, or the refusal of one where ``reason`` is set (``code: explanation``).

    ``payload`` is the text in UTF-8 in its own markup; of a PDF, the text of its pages with form
    feeds between. ``group`` is the file, page or module it comes from, the unit by which training
    and evaluation are kept apart. ``etag`` and ``last_modified`` let the next run see whether it
    changed: those of HTTP, or of a file its size and time.
    """

    uri: str
    title: str = ""
    group: str = ""
    mime: str = PLAIN
    payload: bytes = b""
    licence: str = ""
    subject: str = ""
    reason: str = ""
    size_bytes: int = 0
    etag: str = ""
    last_modified: str = ""

    @property
    def id(self) -> str:
        return document_id(self.uri)


@dataclass(frozen=True, slots=True)
class Unchanged:
    """What an earlier run collected under these addresses is still so."""

    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier run recorded of a document."""

    uri: str
    group: str
    etag: str
    last_modified: str
    is_ok: bool
    mime: str = ""


@dataclass(frozen=True)
class Gathering:
    """What a source gets to work with.

    ``known`` is what an earlier run collected from the same source, by address; ``payload_of``
    reads one of those again. ``keep`` and ``kept`` seal and open bytes for scratch files in
    ``workdir``, which survives a crash. ``report`` takes done, total (or None) and a note, and
    raises when the run is to stop.
    """

    root: Path
    params: CollectSettings
    workdir: Path
    known: Mapping[str, Known] = field(default_factory=dict[str, Known])
    payload_of: Callable[[str], bytes] = lambda _uri: b""
    keep: Callable[[bytes], bytes] = lambda data: data
    kept: Callable[[bytes], bytes] = lambda data: data
    report: Callable[[int, int | None, str], None] = lambda _done, _total, _note: None


class Source(Protocol):
    """A place that documents come from; a new kind is one class and a line in `SOURCES`."""

    def fingerprint(self) -> str:
        """Changes when `collect` could give something else; cheap."""
        ...

    def collect(self, gathering: Gathering) -> Iterator[Collected | Unchanged]:
        """The documents. Raises `BadSource` when there is nothing to read at all."""
        ...


def document_id(uri: str) -> str:
    """The first 16 hex digits of the SHA-256 of the address."""
    return hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()[:16]
