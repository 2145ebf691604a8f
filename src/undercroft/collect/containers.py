"""Files that hold many documents -> documents, one after the other: tables and archives.

Nothing is read whole, so a file may be larger than memory. What is wrong with one row or member is
a refusal in its place; where the file itself ends too early or is damaged, what came before stays
and a last refusal says so.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from undercroft.collect.documents import Collected
from undercroft.collect.readers import json_line, read, record, text_field
from undercroft.collect.text import JSONL, MIME_OF_SUFFIX

#: A member may be this many times as large as it is packed; text reaches about 20.
MOST_EXPANSION: Final = 200
MOST_MEMBERS: Final = 1_000_000
_BATCH_ROWS: Final = 256
_ROW: Final = "application/x-row"
_DAMAGED: Final = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, csv.Error,
                   tarfile.TarError, zipfile.BadZipFile, NotImplementedError)  # fmt: skip

Reader = Callable[[IO[bytes], str, int], Iterator[Collected]]

_PACKED: Final[Mapping[str, Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}


def is_container(path: Path) -> bool:
    return _reader_of(path.name.lower()) is not None


def read_container(path: Path, address: str, limit_bytes: int) -> Iterator[Collected]:
    """The documents in the file at ``path``; a row or member over ``limit_bytes`` is refused.

    Raises `OSError` when the file cannot be opened at all.
    """
    name = path.name.lower()
    reader = _reader_of(name)
    assert reader is not None, "ask is_container first"
    opener = _PACKED.get(PurePosixPath(name).suffix, Path.open)
    file: IO[bytes]
    with opener(path, "rb") as file:
        try:
            yield from reader(file, address, limit_bytes)
        except _DAMAGED as error:
            reason = f"damaged: {error or type(error).__name__}; what came before was taken"
            yield Collected(f"{address}#rest", mime=_ROW, reason=reason)


def _reader_of(name: str) -> Reader | None:
    """The reader of a file by its name, in lower case; of a packed one by the name inside."""
    inner = PurePosixPath(name)
    if inner.suffix == ".tgz":
        return READERS[".tar"]
    is_packed = inner.suffix in _PACKED
    if is_packed:
        inner = inner.with_suffix("")
    reader = READERS.get(inner.suffix)
    return reader or (_one if is_packed and inner.suffix in MIME_OF_SUFFIX else None)


def _one(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    """A single document that was packed."""
    data = file.read(limit + 1)
    if len(data) > limit:
        yield Collected(address, reason=_too_large(limit), size_bytes=len(data))
        return
    suffix = PurePosixPath(address.lower()).with_suffix("").suffix
    yield from read(address, data, declared=MIME_OF_SUFFIX.get(suffix, ""))


def _json_lines(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # lines do not end in one byte
        file.seek(0)
        yield from read(address, file.read(limit), declared=JSONL)
        return
    file.seek(0)
    number = 0
    while line := file.readline(limit + 1):
        number += 1
        if len(line) > limit:
            while line and not line.endswith(b"\n"):
                line = file.readline(limit + 1)
            yield Collected(f"{address}#L{number}", mime=_ROW, reason=_too_large(limit))
        elif line.strip():
            yield json_line(address, number, line)


def _separated(delimiter: str) -> Reader:
    def read_rows(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
        csv.field_size_limit(min(limit, 2**31 - 1))
        lines = io.TextIOWrapper(file, "utf-8-sig", "replace", newline="")
        table = csv.DictReader(lines, delimiter=delimiter)
        if text_field(table.fieldnames or ()) is None:
            yield _no_text_column(address, table.fieldnames or ())
            return
        for number, row in enumerate(table, 2):
            yield record(address, number, row)

    return read_rows


def _parquet(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    from pyarrow import parquet

    table = parquet.ParquetFile(file)
    yield from _columns(
        table.schema_arrow.names, table.iter_batches(batch_size=_BATCH_ROWS), address, limit
    )


def _arrow(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    """Arrow's file format (Feather) or its stream format."""
    import pyarrow as pa

    try:
        whole = pa.ipc.open_file(file)
        batches = (whole.get_batch(n) for n in range(whole.num_record_batches))
        names = whole.schema.names
    except pa.ArrowInvalid:
        file.seek(0)
        stream = pa.ipc.open_stream(file)
        batches, names = iter(stream), stream.schema.names
    yield from _columns(names, batches, address, limit)


def _columns(
    names: list[str], batches: Iterator[Any], address: str, limit: int
) -> Iterator[Collected]:
    if text_field(names) is None:
        yield _no_text_column(address, names)
        return
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            found = record(address, number, row)
            is_large = len(found.payload) > limit
            yield Collected(found.uri, mime=_ROW, reason=_too_large(limit)) if is_large else found


def _zip(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist()[:MOST_MEMBERS]:
            if member.is_dir() or not _is_wanted(member.filename):
                continue
            place = f"{address}!/{member.filename}"
            if member.flag_bits & 1:
                yield Collected(place, reason="encrypted: the archive asks for a password")
            elif member.file_size > MOST_EXPANSION * max(member.compress_size, 64):
                yield Collected(place, reason="bomb: it would unpack to far more than text does")
            else:
                try:
                    with archive.open(member) as inner:
                        data = inner.read(limit + 1)
                except _DAMAGED as error:
                    yield Collected(place, reason=f"damaged: {error}")
                    continue
                yield from _member(place, data, limit)


def _tar(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    with tarfile.open(fileobj=file, mode="r|") as archive:
        for member in archive:
            if not member.isfile() or not _is_wanted(member.name):
                continue
            inner = archive.extractfile(member)
            if inner is not None:
                yield from _member(f"{address}!/{member.name}", inner.read(limit + 1), limit)


def _member(place: str, data: bytes, limit: int) -> Iterator[Collected]:
    if len(data) > limit:
        yield Collected(place, reason=_too_large(limit), size_bytes=len(data))
        return
    suffix = PurePosixPath(place.lower()).suffix
    if suffix in READERS and suffix not in (".zip", ".tar"):
        try:
            yield from READERS[suffix](io.BytesIO(data), place, limit)
        except _DAMAGED as error:
            yield Collected(f"{place}#rest", mime=_ROW, reason=f"damaged: {error}")
    else:
        yield from read(place, data, declared=MIME_OF_SUFFIX.get(suffix, ""))


def _is_wanted(name: str) -> bool:
    """Members of known types; not those that hide, and no archives in archives."""
    path = PurePosixPath(name.lower())
    is_known = path.suffix in MIME_OF_SUFFIX or path.suffix in _TABLES
    return is_known and not any(part.startswith((".", "__macosx")) for part in path.parts)


def _too_large(limit: int) -> str:
    return f"too_large: it is over {limit / 1e6:g} MB"


def _no_text_column(address: str, names: Any) -> Collected:
    reason = f"no_text: none of its columns ({', '.join(map(str, names))}) is known to hold text"
    return Collected(address, mime=_ROW, reason=reason)


_TABLES: Final[dict[str, Reader]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
}
READERS: Final[dict[str, Reader]] = {**_TABLES, ".zip": _zip, ".tar": _tar}
