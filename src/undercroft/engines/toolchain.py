"""What a native build needs besides its source: a compiler, cmake and ninja."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from undercroft.errors import BadInput

CMAKE, NINJA = "cmake>=3.20,<5", "ninja>=1.11,<2"
COMPILERS = ("c++", "g++", "clang++")


@dataclass(frozen=True, slots=True)
class Tools:
    cmake: str
    ninja: str

    @classmethod
    def found(cls, folder: Path) -> Tools:
        """Those of the machine, else ones installed into a virtual environment in ``folder``."""
        cmake, ninja = shutil.which("cmake"), shutil.which("ninja")
        missing = [name for name, found in ((CMAKE, cmake), (NINJA, ninja)) if not found]
        if missing:
            _pip(folder, "install", *missing)
        binaries = folder / "bin"
        return cls(cmake or str(binaries / "cmake"), ninja or str(binaries / "ninja"))

    def configure(self, tree: Path, making: Path) -> list[str]:
        words = [self.cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={self.ninja}"]
        return [*words, "-S", str(tree), "-B", str(making)]

    def compile(self, making: Path, what: str, jobs: int) -> list[str]:
        return [self.cmake, "--build", str(making), "--target", what, "--parallel", str(jobs)]


def compiler() -> str:
    """First line of what the C++ compiler says of itself. Raises `BadInput` when there is none."""
    for name in filter(None, (os.environ.get("CXX"), *COMPILERS)):
        if shutil.which(name):
            said = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
            return said.stdout.partition("\n")[0]
    raise BadInput(
        "There is no C++ compiler on this machine.",
        "A native build compiles llama.cpp's source.",
        "Install one (Debian: apt install g++), or keep the installed wheel.",
    )


def fetch(package: str, version: str, sha256: str, folder: Path, tools: Path) -> Path:
    """The source distribution of ``package``, fetched by pip where it is not in ``folder`` yet, and
    refused by it when it is another file than the digest says."""
    archive = folder / f"{package}-{version}.tar.gz"
    if archive.is_file():
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
    only = ("--no-deps", "--no-binary", package, "--require-hashes")
    _pip(tools, "download", *only, "--dest", str(folder), "--requirement", str(wanted))
    return archive


def _pip(folder: Path, *words: str) -> None:
    """Run pip in the virtual environment ``folder``, made where it is not there yet."""
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            venv.create(folder, with_pip=True, clear=True)
        _said([str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", *words])
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise BadInput(
            f"pip could not {words[0]} what a native build needs.",
            said[-1] if said else f"It failed under Python {sys.version.split()[0]}.",
            "Install cmake and ninja, and name the source distribution with --source.",
        ) from None


def _said(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
