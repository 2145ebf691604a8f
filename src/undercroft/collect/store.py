"""Documents from an object store: ``s3://bucket/prefix``, or what else pyarrow opens by address.

Credentials and region come from where the store's own tools look for them (``AWS_ACCESS_KEY_ID``,
``AWS_PROFILE``, an instance's role, …), another server from ``AWS_ENDPOINT_URL``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from undercroft.collect.containers import is_container
from undercroft.collect.content import documents_of, ground_of, is_wanted, too_large
from undercroft.collect.documents import Collected, Gathering, Unchanged
from undercroft.errors import BadSource
from undercroft.settings import CollectSettings

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@dataclass(frozen=True)
class ObjectStore:
    """The objects whose address begins with ``spec``."""

    spec: str
    params: CollectSettings

    def fingerprint(self) -> str:
        """Of the names, sizes and times of the objects that would be read."""
        _, listed = self._listed()
        digest = hashlib.sha256(self.spec.encode())
        for info in listed:
            digest.update(f"\0{info.path}\0{self._stamp(info)}".encode())
        return digest.hexdigest()

    def collect(self, gathering: Gathering) -> Iterator[Collected | Unchanged]:
        store, listed = self._listed()
        if not listed:
            raise BadSource(
                f"There are no documents at {self.spec}.",
                "No object there is of a known type, or matches `include`.",
                "Correct the address under `sources`, or `include`, under [collect].",
            )
        scheme = self.spec.partition("://")[0]
        addresses = [f"{scheme}://{info.path}" for info in listed]
        earlier = gathering.earlier
        unchanged = earlier.unchanged(addresses, [self._stamp(info) for info in listed])
        for number, (info, address) in enumerate(zip(listed, addresses, strict=True)):
            if unchanged[number]:
                continue
            gathering.report(number, len(listed), address)
            is_known = bool(earlier.etags(address))
            with tempfile.TemporaryDirectory(dir=gathering.workdir) as folder:
                yield from self._read(store, info, address, Path(folder), is_known=is_known)
        gathering.report(len(listed), len(listed), "")

    def _read(
        self, store: Any, info: Any, address: str, folder: Path, *, is_known: bool
    ) -> Iterator[Collected | Unchanged]:
        """Fetch one object and read it; what was taken before is not lost to a bad moment."""
        file = folder / f"object{''.join(PurePosixPath(info.base_name).suffixes[-2:])}"
        if not is_container(file) and info.size > self.params.max_file_mb * 1e6:
            yield too_large(address, info.size, self.params)
            return
        try:
            with store.open_input_stream(info.path) as remote, file.open("wb") as local:
                shutil.copyfileobj(remote, local, 1 << 20)
        except OSError as error:
            reason = f"unreadable: {_first_line(error)}"
            is_same = Unchanged(file=address)
            yield is_same if is_known else Collected(address, file=address, reason=reason)
            return
        stamp = self._stamp(info)
        yield from documents_of(file, address, self.params, stamp, lambda: stamp)

    def _listed(self) -> tuple[Any, list[Any]]:
        """The store, and the objects to read by name. Raises `BadSource`."""
        from pyarrow import fs

        try:
            store, path = fs.FileSystem.from_uri(self.spec + self._server())
            found = store.get_file_info(fs.FileSelector(path, recursive=True))
            if not found:
                found = [store.get_file_info(path)]
        except (OSError, ValueError) as error:
            raise BadSource(
                f"{self.spec} cannot be listed.",
                _first_line(error),
                "Check the address, AWS_ENDPOINT_URL and the credentials "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION).",
            ) from None
        files = [info for info in found if info.type == fs.FileType.File]
        wanted = (i for i in files if is_wanted(i.base_name, i.path, self.params))
        return store, sorted(wanted, key=lambda info: str(info.path))

    def _server(self) -> str:
        """What the address needs besides, for a server that is not Amazon's."""
        server = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")
        if not server or not self.spec.startswith("s3://") or "endpoint_override=" in self.spec:
            return ""
        scheme, _, host = server.rstrip("/").rpartition("://")
        mark = "&" if "?" in self.spec else "?"
        return f"{mark}endpoint_override={quote(host)}&scheme={scheme or 'https'}"

    def _stamp(self, info: Any) -> str:
        return f"{info.size}-{info.mtime_ns}-{ground_of(self.params)}"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
