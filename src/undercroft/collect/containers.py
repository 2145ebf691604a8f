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
import json
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, Final, Self

from undercroft.collect.documents import Collected
from undercroft.collect.readers import FIELDS, json_line, read, record, text_field
from undercroft.collect.text import MIME_OF_SUFFIX, Unreadable, decode, encoding_of
from undercroft.collect.warc import responses

#: A member may be this many times as large as it is packed; text reaches about 20.
MOST_EXPANSION: Final = 200
MOST_MEMBERS: Final = 1_000_000
_BATCH_ROWS: Final = 256
_HEAD_BYTES: Final = 65_536
_MOST_HEADER: Final = 1_000_000
_TAR_HEADERS: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
                       tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)  # fmt: skip
_ROW: Final = "application/x-row"
_NESTED: Final = "nested: archives in archives are not opened; unpack it"
_DAMAGED: Final = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, csv.Error,
                   struct.error, OverflowError, tarfile.TarError, zipfile.BadZipFile,
                   NotImplementedError)  # fmt: skip

Reader = Callable[[IO[bytes], str, int], Iterator[Collected]]


def _zstd(path: Path, _mode: str) -> IO[bytes]:
    import pyarrow as pa

    return io.BufferedReader(pa.CompressedInputStream(str(path), "zstd"), _HEAD_BYTES)


_PACKED: Final[Mapping[str, Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstd,
}


def is_container(path: PurePath) -> bool:
    """Whether it can hold many documents, by its name."""
    return _reader_of(path.name.lower()) is not None


def is_expected(name: str) -> bool:
    """Whether a file of that name is a container that is read wherever it lies."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in _IN_FOLDERS and _reader_of(name.lower()) is not None


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
    """A single document that was packed; half of one is none."""
    try:
        data = file.read(limit + 1)
    except _DAMAGED as error:
        yield Collected(address, reason=f"damaged: {error or type(error).__name__}")
        return
    if len(data) > limit:
        yield Collected(address, reason=_too_large(limit), size_bytes=len(data))
        return
    suffix = PurePosixPath(address.lower()).with_suffix("").suffix
    yield from read(address, data, declared=MIME_OF_SUFFIX.get(suffix, ""))


def _json_lines(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    readline, number = _line_reader(file), 0
    while line := readline(limit + 1):
        number += 1
        if len(line) > limit:
            while line and not line.endswith(b"\n"):
                line = readline(limit + 1)
            yield Collected(f"{address}#L{number}", mime=_ROW, reason=_too_large(limit))
        elif line.strip():
            yield json_line(address, number, line)


def _line_reader(file: IO[bytes]) -> Callable[[int], bytes]:
    """What gives the next line of ``file``, of no more than so many bytes or characters."""
    if not _head(file).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return file.readline
    lines = io.TextIOWrapper(file, "utf-16", "replace", newline="\n")  # none ends in one byte
    return lambda size: lines.readline(size).encode("utf-8", "replace")


def _head(file: Any) -> bytes:
    """Some of what comes next in ``file``, which stays where it is."""
    if hasattr(file, "peek"):
        return bytes(file.peek(_HEAD_BYTES))
    head = bytes(file.read(_HEAD_BYTES))
    file.seek(0)
    return head


def _separated(delimiter: str) -> Reader:
    def read_rows(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
        lines = _Lines(file, limit)
        table = csv.DictReader(lines, delimiter=delimiter)
        if text_field(table.fieldnames or ()) is None:
            yield _no_text_column(address, table.fieldnames or ())
            return
        while True:
            number = lines.begin_row()
            try:
                row = next(table)
            except StopIteration:
                return
            except csv.Error as error:  # the next row begins on the next line
                yield Collected(f"{address}#L{number}", mime=_ROW, reason=f"bad_row: {error}")
                continue
            yield _decoded(address, number, row)

    return read_rows


class _Lines:
    """The lines of a file of separated values, in the encoding that its beginning is in.

    Bytes that do not fit it come as surrogates. A row of more than ``limit`` characters raises
    `csv.Error`, so that one quote too many does not take the rest of the file for one field.
    """

    def __init__(self, file: IO[bytes], limit: int) -> None:
        csv.field_size_limit(2**31 - 1)  # of the whole process, so the limit is kept here
        encoding = encoding_of(_head(file))
        self._lines = io.TextIOWrapper(file, encoding, "surrogateescape", newline="")
        self._limit = limit
        self._num_chars = 0
        self._number = 0

    def begin_row(self) -> int:
        """The number of the line that the next row begins on."""
        self._num_chars = 0
        return self._number + 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._lines.readline(self._limit + 1)
        if not line:
            raise StopIteration
        while len(line) > self._limit and not line.endswith("\n"):
            self._num_chars += len(line)
            line = self._lines.readline(self._limit + 1)
        self._number += 1
        self._num_chars += len(line)
        if self._num_chars > self._limit:
            raise csv.Error(_too_large(self._limit))
        return line


def _decoded(address: str, number: int, row: dict[str, Any]) -> Collected:
    """The row, its odd bytes read in whatever encoding they are in."""
    try:
        for name, value in row.items():
            if isinstance(value, str) and not value.isascii():
                row[name] = decode(value.encode("utf-8", "surrogateescape"))
    except Unreadable as refusal:
        return Collected(f"{address}#L{number}", mime=_ROW, reason=str(refusal))
    return record(address, number, row)


def _json(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    """A list of records, or one."""
    data = file.read(limit + 1)
    if len(data) > limit:
        yield Collected(address, reason=_too_large(limit), size_bytes=len(data))
        return
    try:
        found = json.loads(decode(data))
    except (ValueError, RecursionError, Unreadable) as error:
        yield Collected(address, mime=_ROW, reason=f"bad_json: {error}")
        return
    for number, row in enumerate(found if isinstance(found, list) else [found], 1):
        yield record(address, number, row)


def _parquet(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    from pyarrow import parquet

    table = parquet.ParquetFile(file)
    names = table.schema_arrow.names
    wanted = [name for name in names if name in FIELDS]
    batches = table.iter_batches(batch_size=_BATCH_ROWS, columns=wanted)
    yield from _columns(names, batches, address, limit)


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
    wanted = [name for name in names if name in FIELDS]
    slices = (
        batch.slice(start, _BATCH_ROWS).select(wanted)
        for batch in batches
        for start in range(0, batch.num_rows, _BATCH_ROWS)
    )
    for number, row in enumerate(chain.from_iterable(each.to_pylist() for each in slices), 1):
        found = record(address, number, row)
        is_large = len(found.payload) > limit
        yield Collected(found.uri, mime=_ROW, reason=_too_large(limit)) if is_large else found


def _zip(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for member in members[:MOST_MEMBERS]:
            if not _is_wanted(member.filename) or member.is_dir():
                continue
            place = f"{address}!/{member.filename}"
            if _is_archive(member.filename):
                yield Collected(place, reason=_NESTED)
            elif member.flag_bits & 1:
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
        if len(members) > MOST_MEMBERS:
            yield _too_many(address)


class _TarHeader(tarfile.TarInfo):
    """Refuses headers that hold more than names do, since they are read whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.size > _MOST_HEADER and found.type in _TAR_HEADERS:
            raise tarfile.ReadError(f"a header of {found.size / 1e6:.0f} MB")
        return found


def _tar(file: IO[bytes], address: str, limit: int) -> Iterator[Collected]:
    with tarfile.open(fileobj=file, mode="r|", tarinfo=_TarHeader) as archive:
        for number, member in enumerate(archive):
            if number >= MOST_MEMBERS:
                yield _too_many(address)
                return
            if not member.isfile() or not _is_wanted(member.name):
                continue
            place = f"{address}!/{member.name}"
            inner = archive.extractfile(member)
            if _is_archive(member.name):
                yield Collected(place, reason=_NESTED)
            elif inner is not None:
                yield from _member(place, inner.read(limit + 1), limit)


def _member(place: str, data: bytes, limit: int) -> Iterator[Collected]:
    if len(data) > limit:
        yield Collected(place, reason=_too_large(limit), size_bytes=len(data))
        return
    suffix = PurePosixPath(place.lower()).suffix
    if suffix in _TABLES:
        try:
            yield from _TABLES[suffix](io.BytesIO(data), place, limit)
        except _DAMAGED as error:
            yield Collected(f"{place}#rest", mime=_ROW, reason=f"damaged: {error}")
    else:
        yield from read(place, data, declared=MIME_OF_SUFFIX.get(suffix, ""))


def _is_wanted(name: str) -> bool:
    """Members of known types, and archives for their refusal; not those that hide."""
    path = PurePosixPath(name.lower())
    is_known = path.suffix in MIME_OF_SUFFIX or path.suffix in _IN_FOLDERS
    return is_known and not any(part.startswith((".", "__macosx")) for part in path.parts)


def _is_archive(name: str) -> bool:
    return PurePosixPath(name.lower()).suffix in _ARCHIVES


def _too_many(address: str) -> Collected:
    reason = f"too_many: members after the first {MOST_MEMBERS:,} were not read"
    return Collected(f"{address}#rest", mime=_ROW, reason=reason)


def _too_large(limit: int) -> str:
    return f"too_large: it is over {limit / 1e6:g} MB"


def _no_text_column(address: str, names: Any) -> Collected:
    reason = f"no_text: none of its columns ({', '.join(map(str, names))}) is known to hold text"
    return Collected(address, mime=_ROW, reason=reason)


_TABLES: Final[dict[str, Reader]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
}
READERS: Final[dict[str, Reader]] = {**_TABLES, ".zip": _zip, ".tar": _tar, ".warc": responses}
_ARCHIVES: Final = frozenset({".zip", ".tar", ".tgz", ".warc", *_PACKED})
#: What is taken from among other files; JSON that nobody named is rather a program's own.
_IN_FOLDERS: Final = ({*_TABLES} - {".json"}) | _ARCHIVES
