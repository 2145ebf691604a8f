"""The records of a WARC file (ISO 28500), one after the other, whatever is wrong with some.

Only framing is done here: headers, and as much content as is wanted. Where no record begins, the
next one is looked for; where the file ends within a record, `EOFError` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final

_MOST_LINE: Final = 65_536
_MOST_HEADERS: Final = 1_000
_PIECE_BYTES: Final = 1 << 20
_BEGIN: Final = b"WARC/"


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its headers by their names in lower case, and the beginning of its content.

    ``trouble`` says why it cannot be read, where it cannot.
    """

    headers: Mapping[str, str]
    content: bytes = b""
    trouble: str = ""

    @property
    def url(self) -> str:
        return self.headers.get("warc-target-uri", "").strip("<>")


def records(file: IO[bytes], most_bytes: int) -> Iterator[Record]:
    """The records of ``file``, with no more than ``most_bytes`` of the content of each."""
    line = _begin(file)
    while line:
        if not line.startswith(_BEGIN):
            yield Record({}, trouble="damaged: there is no record where one should begin")
            while line and not line.startswith(_BEGIN):
                line = file.readline(_MOST_LINE)
            continue
        headers = _headers(file)
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit():
            content = _content(file, int(length), most_bytes)
            is_told = "warc-type" in headers
            trouble = "" if is_told else "damaged: the record does not say what it is"
            yield Record(headers, content, trouble)
        else:
            yield Record(headers, trouble="damaged: the record does not say how long it is")
        line = _begin(file)


def _begin(file: IO[bytes]) -> bytes:
    """The first line of the next record; empty at the end."""
    while line := file.readline(_MOST_LINE):
        if line.strip():
            break
    return line


def _headers(file: IO[bytes]) -> dict[str, str]:
    """The headers of a record; a line that begins with a blank goes on with the one before."""
    found: dict[str, str] = {}
    name = ""
    for _ in range(_MOST_HEADERS):
        line = file.readline(_MOST_LINE)
        if not line.endswith(b"\n"):
            break
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            return found
        if name and text[0] in " \t":
            found[name] += f" {text.strip()}"
        else:
            before, _, value = text.partition(":")
            name = before.strip().lower()
            found[name] = value.strip()
    if line:
        return {}  # more than any writer writes: what is read here is no header
    raise EOFError("it ends within a record")


def _content(file: IO[bytes], length: int, most_bytes: int) -> bytes:
    """The first ``most_bytes`` of the ``length`` bytes that come next; all of them are passed."""
    content = file.read(min(length, most_bytes))
    rest = length - len(content)
    if rest and len(content) < most_bytes:
        raise EOFError("it ends within a record")
    while rest:
        passed = len(file.read(min(rest, _PIECE_BYTES)))
        if not passed:
            raise EOFError("it ends within a record")
        rest -= passed
    return content
