"""What a source gives: documents, refusals, and the word that something is as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
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
    feeds between. ``group`` is the page, module or row it comes from, the unit by which training
    and evaluation are kept apart; ``file`` is the file it was read from. ``etag`` and
    ``last_modified`` let the next run see whether it changed: those of HTTP, or of a file its size
    and time, which of a file with many documents the last one alone carries. ``usage`` is what its
    publisher says about its use (`collect.usage`).
    """

    uri: str
    title: str = ""
    group: str = ""
    file: str = ""
    mime: str = PLAIN
    payload: bytes = b""
    licence: str = ""
    consent: str = ""
    usage: str = ""
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
    """What an earlier run collected is still so: the document at ``uri``, all of ``file``, or,
    where neither is named, everything of the source. Of many files, `Earlier.unchanged` says it."""

    uri: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier run recorded of a document."""

    uri: str
    etag: str
    last_modified: str
    is_ok: bool
    mime: str = ""


class Earlier(Protocol):
    """What earlier runs collected from a source."""

    def get(self, uri: str) -> Known | None:
        """What is known of the document at ``uri``."""
        ...

    def etags(self, file: str = "") -> frozenset[str]:
        """The etags that documents of ``file`` carry, or those of the whole source."""
        ...

    def unchanged(self, files: Sequence[str], etags: Sequence[str]) -> list[bool]:
        """Whether a document of each file carries the etag given for it. All documents of those
        where one does count as seen, as if `Unchanged` had been said of each."""
        ...


class NothingEarlier:
    """There was no earlier run."""

    def get(self, _uri: str) -> Known | None:
        return None

    def etags(self, _file: str = "") -> frozenset[str]:
        return frozenset()

    def unchanged(self, files: Sequence[str], _etags: Sequence[str]) -> list[bool]:
        return [False] * len(files)


@dataclass(frozen=True)
class Gathering:
    """What a source gets to work with.

    ``earlier`` tells what earlier runs collected from the same source; ``payload_of`` reads one of
    those again. ``keep`` and ``kept`` seal and open bytes for scratch files in
    ``workdir``, which survives a crash. ``report`` takes done, total (or None) and a note, and
    raises when the run is to stop.
    """

    root: Path
    params: CollectSettings
    workdir: Path
    earlier: Earlier = field(default_factory=NothingEarlier)
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
