"""llama.cpp, compiled on this machine for its processor.

The source is the one that the installed wheel was made of: it lies in the wheel's own source
distribution, fetched by pip and held against a digest written here. The instructions are named one
by one after what the processor lists (`processor`); ``GGML_NATIVE`` leaves them to the compiler,
whose idea of a virtual processor can be wrong. What was begun is gone on with the next time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from undercroft.engines import native
from undercroft.engines.child import usable_cores
from undercroft.engines.native import NativeBuild
from undercroft.engines.probe import probe
from undercroft.engines.processor import Target, features, target
from undercroft.engines.toolchain import Tools, compiler, fetch
from undercroft.errors import BadInput, Busy, EngineFailed

#: SHA-256 of the source distribution of each version that can be built.
SOURCES = {
    "2026.10.11549": "c17ee1163006f70726abb9f72137830818f3d8cb60bfc34cb232d08428eaa22b",
}
TREE = "thirdparty/llama.cpp"
COMPILED = re.compile(r"^\[(\d+)/(\d+)\]")
NICE = 10
LINES_IN_ERROR = 4

OPTIONS = (
    "CMAKE_BUILD_TYPE=Release",
    "BUILD_SHARED_LIBS=OFF",
    "GGML_NATIVE=OFF",
    "GGML_CCACHE=OFF",
    "LLAMA_OPENSSL=OFF",
    "LLAMA_SUBPROCESS=OFF",
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_EXAMPLES=OFF",
    "LLAMA_BUILD_APP=OFF",
    "LLAMA_BUILD_UI=OFF",
    "LLAMA_USE_PREBUILT_UI=OFF",
)

#: The server's ``main``: as that of llama.cpp, and it ends with its parent as every child of ours
#: does (`undercroft.processes`).
MAIN = """\
#include <cstdlib>
#include <cstring>
#include <thread>
#include <unistd.h>

int llama_server(int argc, char ** argv);

int main(int argc, char ** argv) {
    const char * piped = std::getenv("UNDERCROFT_PARENT_PIPE");
    if (piped && std::strcmp(piped, "1") == 0) {
        std::thread([] {
            char buffer[4096];
            while (read(STDIN_FILENO, buffer, sizeof(buffer)) > 0) {}
            _exit(0);
        }).detach();
    }
    return llama_server(argc, argv);
}
"""


class Tell(Protocol):
    """Told how much is done, of how much, and of what."""

    def __call__(self, done: int, total: int, what: str = "", /) -> None: ...


def build(
    tell: Tell,
    source: Path | None = None,
    without: frozenset[str] = frozenset(),
    jobs: int = 0,
) -> NativeBuild:
    """Compile, probe and register llama.cpp for this processor; returns what there was if it fits.

    ``source`` is the source distribution, for a machine without a network; ``without`` are
    features not to be used, by Linux's names; ``jobs`` 0 takes every core. The build is returned
    with its ``fault`` when it does not answer as the wheel does; it is not used then. Raises
    `BadInput` when a build is of no use here, `MissingExtra` without the ``gguf`` package, `Busy`
    when one is being made, and `EngineFailed` when compiling fails.
    """
    version = native.installed()
    aim = _aim(version, without)
    name = f"{version}-{hashlib.sha256(repr(aim.options).encode()).hexdigest()[:8]}"
    for made in native.builds():
        if made.name == name and not made.unfit(features(), version):
            return made
    cxx = compiler()
    with _alone() as work:
        began = time.monotonic()
        tell(0, 0, "fetching cmake and ninja")
        tools = Tools.found(work / "tools")
        tell(0, 0, "fetching the source")
        archive = source or fetch(
            native.PACKAGE, version, SOURCES[version], work / "source", work / "tools"
        )
        tree = _unpacked(archive, SOURCES[version], work / f"{version}-tree")
        making = work / name
        log = work / f"{name}.log"
        _run([*tools.configure(tree, making), *(f"-D{each}" for each in _all(aim))], log, tell)
        _run(tools.compile(making, native.SERVER, jobs or usable_cores()), log, tell)
        place = native.folder() / name
        place.mkdir(parents=True, exist_ok=True)
        half = place / f".{native.SERVER}"
        shutil.copy2(making / "bin" / native.SERVER, half)
        half.replace(place / native.SERVER)  # an engine may be running the one before
        tell(0, 0, "probing it against the wheel")
        seconds = time.monotonic() - began
        found = probe(place / native.SERVER)
        made = NativeBuild(
            name=name,
            version=version,
            needs=tuple(sorted(aim.needs)),
            options=tuple(_all(aim)),
            source_sha256=SOURCES[version],
            server_sha256=native.digest(place / native.SERVER),
            compiler=cxx,
            seconds=round(seconds, 1),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            difference=found.difference,
            compared=found.compared,
            fault=found.fault,
        )
        made.keep()
        for done in (making, tree.parents[1], work / "source", work / "tools"):
            shutil.rmtree(done, ignore_errors=True)
        return made


def _aim(version: str, without: frozenset[str]) -> Target:
    if platform.system() != "Linux":
        raise BadInput(
            f"A native build on {platform.system()} would gain nothing.",
            "Only Linux tells which instructions a processor has, and wheels elsewhere use them.",
            "Keep the installed wheel.",
        )
    if version not in SOURCES:
        raise BadInput(
            f"The source of {native.PACKAGE} {version} is not known here.",
            f"Known, by their digests, are {', '.join(SOURCES)}.",
            f"Install one of these: pip install {native.PACKAGE}=={next(reversed(SOURCES))}",
        )
    aim = target(features(), without=without)
    if not aim.more:
        raise BadInput(
            "A native build would gain nothing on this processor.",
            "It lists no instructions that the installed wheel does not use.",
            "Keep the wheel.",
        )
    return aim


def _all(aim: Target) -> Sequence[str]:
    return (*OPTIONS, *aim.options)


@contextmanager
def _alone() -> Iterator[Path]:
    """The folder to work in, held by this process. Raises `Busy`."""
    work = native.folder() / "making"
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy(
                "A native build is being made.", f"Another process works in {work}.", "Wait for it."
            ) from None
        yield work


def _unpacked(archive: Path, sha256: str, tree: Path) -> Path:
    """The folder of llama.cpp in ``archive``, with our ``main``. Raises `BadInput` for another
    file than the one that the digest is of."""
    if (tree / "complete").exists():
        return tree / TREE
    if not archive.is_file() or native.digest(archive) != sha256:
        raise BadInput(
            f"{archive} is not the source distribution of the installed {native.PACKAGE}.",
            f"Its SHA-256 would be {sha256}.",
            f"Get it with: pip download --no-deps --no-binary :all: {native.PACKAGE}",
        )
    shutil.rmtree(tree, ignore_errors=True)
    with tarfile.open(archive) as packed:
        for member in packed:
            member.name = member.name.partition("/")[2]
            if member.name.startswith(TREE):
                packed.extract(member, tree, filter="data")
    (tree / TREE / "tools" / "server" / "main.cpp").write_text(MAIN)
    (tree / "complete").touch()
    return tree / TREE


def _run(command: Sequence[str], log: Path, tell: Tell) -> None:
    """Run one step of the build with low priority. Raises `EngineFailed` with what went wrong."""
    with log.open("a", errors="replace") as out:
        step = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        assert step.stdout is not None
        try:
            os.setpriority(os.PRIO_PROCESS, step.pid, NICE)
            for line in step.stdout:
                out.write(line)
                if found := COMPILED.match(line):
                    tell(int(found[1]), int(found[2]), "compiling llama.cpp")
        finally:
            if step.poll() is None:
                step.terminate()
            step.wait()
    if step.returncode:
        lines = log.read_text(errors="replace").splitlines()
        wrong = [line for line in lines if "error" in line.lower()] or lines
        raise EngineFailed(
            "llama.cpp could not be compiled.",
            " | ".join(wrong[-LINES_IN_ERROR:]),
            f"The whole log is {log}; the installed wheel is used meanwhile.",
        )
