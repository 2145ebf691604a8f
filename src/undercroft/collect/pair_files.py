"""Files of pairs -> their rows: JSON Lines, a JSON array, Parquet, Arrow, and folders of them.

These are the forms in which datasets of the Hugging Face Hub are downloaded and kept on disk. A row
that is damaged, or a part of a file, is refused in its place, and all others are read.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from undercroft.errors import BadSource
from undercroft.lake.refused import Refused, refused_line

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: Final = ("prompt", "chosen", "rejected")
_BATCH_ROWS: Final = 256
_MOST_ARRAY_BYTES: Final = 1 << 29  # an array of JSON is read whole


class Row(NamedTuple):
    """What row ``number`` of a file, counted from 1, says; ``line`` is how it is written there."""

    number: int
    value: Any
    line: bytes = b""

    @property
    def text(self) -> bytes | str:
        """How it is written, or could be."""
        try:
            return self.line or json.dumps(self.value, ensure_ascii=False, default=str)
        except RecursionError:
            return ""


def files_of(path: Path) -> list[Path]:
    """The file at ``path``, or those of pairs in the folder there; raises `BadSource` for none."""
    if path.is_file():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.is_file() and _reader(each, None))
    found = [each for each in found if not each.name.startswith((".", "cache-"))]
    if not found:
        where = f"in the folder {path}" if path.is_dir() else path
        raise BadSource(
            f"There is no file of pairs {where}.",
            do=f"Name a file, or a folder with files of {', '.join(_READERS)}.",
        )
    return found


def rows_of(path: Path) -> Iterator[Row | Refused]:
    """All rows of the file at ``path``; one of an unknown name is read as JSON Lines."""
    read = _reader(path, _lines)
    assert read is not None
    return read(path)


def _reader(path: Path, otherwise: Reader | None) -> Reader | None:
    name = path.name.lower()
    return next((read for end, read in _READERS.items() if name.endswith(end)), otherwise)


def _lines(path: Path) -> Iterator[Row | Refused]:
    with path.open("rb") as lines:
        yield from _json_lines(path, lines)


def _packed(path: Path) -> Iterator[Row | Refused]:
    number = 0
    try:
        with gzip.open(path) as lines:
            for found in _json_lines(path, lines):
                number = found.number if isinstance(found, Row) else found.line
                yield found
    except (OSError, EOFError, zlib.error) as error:
        yield Refused(path.name, number + 1, f"from here the file is damaged: {error}")


def _json_lines(path: Path, lines: IO[bytes] | gzip.GzipFile) -> Iterator[Row | Refused]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield Row(number, json.loads(line.decode("utf-8-sig")), line)
        except (ValueError, RecursionError):
            yield refused_line(path.name, number, "the line is no JSON", line)


def _json(path: Path) -> Iterator[Row | Refused]:
    """An array, or else lines: much that is called ``.json`` has a row a line."""
    if path.stat().st_size <= _MOST_ARRAY_BYTES:
        whole = path.read_bytes()
        if whole.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            try:
                rows = json.loads(whole.decode("utf-8-sig"))
            except (ValueError, RecursionError):
                rows = None
            if isinstance(rows, list):
                yield from (Row(at, row) for at, row in enumerate(rows, start=1))
                return
    yield from _lines(path)


def _parquet(path: Path) -> Iterator[Row | Refused]:
    """Row group by row group: one that cannot be decompressed does not lose the others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield Refused(path.name, 0, f"the file cannot be read as Parquet: {_brief(error)}")
        return
    with file:
        columns = [name for name in file.schema_arrow.names if name in COLUMNS]
        first = 1
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            batches = file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns)
            yield from _of_batches(path, batches, first, first + size - 1)
            first += size


def _arrow(path: Path) -> Iterator[Row | Refused]:
    """Arrow's stream format, as datasets are saved to disk, or its file format."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:
        try:
            try:
                batches: Iterator[pa.RecordBatch] = iter(pa.ipc.open_stream(file))
            except pa.ArrowInvalid:
                file.seek(0)
                whole = pa.ipc.open_file(file)
                batches = (whole.get_batch(at) for at in range(whole.num_record_batches))
        except (pa.ArrowException, OSError, ValueError) as error:
            yield Refused(path.name, 0, f"the file cannot be read as Arrow: {_brief(error)}")
            return
        yield from _of_batches(path, batches, 1, None)


def _of_batches(
    path: Path, batches: Iterator[pa.RecordBatch], first: int, last: int | None
) -> Iterator[Row | Refused]:
    """Rows from number ``first`` on; ``last`` is the last, where that is known."""
    import pyarrow as pa

    number = first
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError, ValueError) as error:
            until = f"to {last:,}" if last else "on"
            why = f"rows {number:,} {until} cannot be read: {_brief(error)}"
            yield Refused(path.name, number, why)
            return
        if batch is None:
            return
        batch = batch.select([name for name in batch.schema.names if name in COLUMNS])
        for at in range(batch.num_rows):
            yield _row(path, batch, at, number + at)
        number += batch.num_rows


def _row(path: Path, batch: pa.RecordBatch, at: int, number: int) -> Row | Refused:
    try:
        (value,) = batch.slice(at, 1).to_pylist()
    except ValueError as error:
        return Refused(path.name, number, f"the row cannot be read: {_brief(error)}")
    return Row(number, value)


def _brief(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


Reader = Callable[[Path], Iterator[Row | Refused]]

_READERS: Final[Mapping[str, Reader]] = {
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _json,
    ".jsonl.gz": _packed,
    ".json.gz": _packed,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
