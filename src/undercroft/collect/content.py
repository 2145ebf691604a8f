"""One file, wherever it comes from -> its documents, each under an address of its own."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path, PurePath

from undercroft.collect.containers import is_container, is_expected, read_container
from undercroft.collect.documents import Collected
from undercroft.collect.readers import read
from undercroft.collect.text import MIME_OF_SUFFIX
from undercroft.settings import CollectSettings


def is_wanted(name: str, relative: str, params: CollectSettings) -> bool:
    """Whether the settings ask for the file: by its globs, or where there are none by its type."""
    if not params.include:
        suffix = name[name.rfind(".", 1) :]
        return suffix in MIME_OF_SUFFIX or suffix.lower() in MIME_OF_SUFFIX or is_expected(name)
    return any(fnmatch(relative, glob) or fnmatch(name, glob) for glob in params.include)


def ground_of(params: CollectSettings) -> str:
    """Of the settings that rows are written under; under others, files are read again."""
    ground = hashlib.sha256(f"{params.consent}\0{params.licence}".encode())
    return ground.hexdigest()[:8]


def documents_of(
    file: Path, address: str, params: CollectSettings, stamp: str, stamp_now: Callable[[], str]
) -> Iterator[Collected]:
    """The documents of ``file``, known as ``address``; `addressed`."""
    yield from addressed(_read(file, address, params), address, stamp, stamp_now)


def addressed(
    documents: Iterator[Collected], address: str, stamp: str, stamp_now: Callable[[], str]
) -> Iterator[Collected]:
    """``documents`` of what is known as ``address``, each under an address of its own.

    The last one carries the ``stamp``: whoever holds it has all of them. None does where
    ``stamp_now`` gives another at the end, since the file was written to meanwhile.
    """
    seen: Counter[int] = Counter()
    last: Collected | None = None
    for found in documents:
        if last is not None:
            yield last
        seen[hash(found.uri)] += 1
        again = seen[hash(found.uri)]
        uri = found.uri if again == 1 else f"{found.uri}~{again}"
        inner = PurePath(found.uri.partition("#")[0].rpartition("!/")[2] or address)
        last = replace(found, uri=uri, title=found.title or _said(inner), file=address)
    if last is None:
        return
    if stamp_now() == stamp:
        yield replace(last, etag=stamp)
    else:
        yield last
        reason = "changed: it was written to while it was read; the next run reads it again"
        yield Collected(f"{address}#changed", file=address, reason=reason)


def _read(file: Path, address: str, params: CollectSettings) -> Iterator[Collected]:
    limit = int(params.max_file_mb * 1e6)
    try:
        if is_container(file):
            yield from read_container(file, address, limit)
            return
        size = file.stat().st_size
        data = file.read_bytes() if size <= limit else b""
    except OSError as error:
        yield Collected(address, reason=f"unreadable: {error.strerror or error}")
        return
    if size > limit:
        yield too_large(address, size, params)
    else:
        yield from read(address, data, declared=MIME_OF_SUFFIX.get(file.suffix.lower(), ""))


def too_large(address: str, size: int, params: CollectSettings) -> Collected:
    """The refusal of a file that is over the limit."""
    reason = f"too_large: {size / 1e6:.1f} MB is over {params.max_file_mb:g} MB"
    return Collected(address, file=address, reason=reason, size_bytes=size)


def _said(path: PurePath) -> str:
    """The name of a file as a title."""
    return path.stem.replace("_", " ").replace("-", " ")
