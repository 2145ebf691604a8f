"""Builds of llama.cpp made on this machine for its processor: which there are, and which is used.

A build is a folder of the user's cache with the server and a ``record.json`` that says what it was
made from, for which instructions, and what came of its probe. One that did not answer as the wheel
does stays there with the reason, and is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from undercroft.engines.processor import features, target
from undercroft.errors import NotFound

PACKAGE = "xllamacpp"
SERVER = "llama-server"
RECORD = "record.json"

Choice = Literal["auto", "wheel", "native"]


@dataclass(frozen=True, slots=True)
class NativeBuild:
    """One build. ``fault`` says why it must not be used; empty when its probe went well."""

    name: str
    version: str
    needs: tuple[str, ...]
    options: tuple[str, ...]
    source_sha256: str
    server_sha256: str
    compiler: str
    seconds: float
    made_at: str
    difference: float
    compared: int
    fault: str = ""

    @property
    def server(self) -> Path:
        return folder() / self.name / SERVER

    def unfit(self, has: frozenset[str], wanted: str) -> str:
        """Why this build cannot be used for version ``wanted`` on a processor that ``has`` these
        features; empty when it can."""
        if self.fault:
            return self.fault
        if self.version != wanted:
            return f"made of version {self.version}; {wanted} is installed"
        if missing := sorted(set(self.needs) - has):
            return f"needs {', '.join(missing)}, which this processor does not list"
        if not self.server.is_file():
            return "its server is gone"
        if digest(self.server) != self.server_sha256:
            return "its server is not the file that was probed"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return asdict(self)

    def keep(self) -> None:
        """Write the record, all or nothing."""
        file = folder() / self.name / RECORD
        half = file.with_suffix(f".{os.getpid()}.tmp")
        half.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        half.replace(file)

    def withdraw(self, fault: str) -> None:
        """Never use it again, and say why."""
        replace(self, fault=fault).keep()


def folder() -> Path:
    """Where builds are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "undercroft" / "engines"


def installed() -> str:
    """The version of the wheel that is installed; builds are made of the same."""
    return version(PACKAGE)


def builds() -> Sequence[NativeBuild]:
    """All that were made, the newest first; a record that cannot be read is passed over."""
    found = []
    for file in folder().glob(f"*/{RECORD}"):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            told["needs"], told["options"] = tuple(told["needs"]), tuple(told["options"])
            found.append(NativeBuild(**told))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda each: each.made_at, reverse=True)


def choose(choice: Choice) -> NativeBuild | None:
    """The build to run, or None for the wheel. Raises `NotFound` when ``native`` is asked for and
    none fits this processor and the installed version."""
    if choice == "wheel":
        return None
    has, wanted = features(), installed()
    made = builds()
    why = [(each, each.unfit(has, wanted)) for each in made]
    fits = [each for each, reason in why if not reason]
    if fits:
        return max(fits, key=lambda each: len(each.needs))
    if choice == "native":
        raise NotFound(
            "engine.build is 'native', and there is no native build of llama.cpp that can be used. "
            + " ".join(f"{each.name}: {reason}." for each, reason in why),
            do='Make one with: undercroft engine build (or set engine.build = "auto")',
        )
    return None


def advice() -> str:
    """What a native build would bring here; empty when there is one, or it would bring nothing."""
    aim = target(features())
    if not aim.more or choose("auto") is not None:
        return ""
    return (
        "This processor can do more than the installed llama.cpp is compiled for. "
        "A native build computes faster, by how much says serve tune: undercroft engine build"
    )


def digest(file: Path) -> str:
    """SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
