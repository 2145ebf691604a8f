"""Distilled models that this machine has made before, kept for all its projects.

A static model depends on nothing but the transformer's files, its size and the code that makes it,
and takes tens of seconds; so it is kept under the user's cache folder, by the digest of these
three. Deleting the folder costs only the time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from undercroft.retrieve.distil import Progress, distil, locate


def distil_or_reuse(model: str, dimensions: int, out: Path, progress: Progress) -> bool:
    """`distil`, unless this machine has it; true when it was only copied.

    A cache that cannot be written or that is damaged is passed over. Raises what `distil` raises.
    """
    kept = _folder() / _digest(locate(model), dimensions)
    shutil.rmtree(out, ignore_errors=True)  # whatever a killed attempt left
    try:
        shutil.copytree(kept, out)
    except OSError:
        shutil.rmtree(out, ignore_errors=True)
        distil(model, dimensions, out, progress)
        _keep(out, kept)
        return False
    progress(1, 1)
    return True


def _keep(made: Path, kept: Path) -> None:
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(dir=kept.parent))
        shutil.copytree(made, half, dirs_exist_ok=True)
        half.rename(kept)  # all or nothing; fails when somebody else was quicker
    except OSError:
        return


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "undercroft" / "embeddings"


def _digest(location: str, dimensions: int) -> str:
    digest = hashlib.sha256(f"{dimensions}\0".encode())
    digest.update(Path(__file__).with_name("distil.py").read_bytes())
    folder = Path(location)
    if not folder.is_dir():
        digest.update(location.encode())
    for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if file.is_file():
            digest.update(f"{file.relative_to(folder)}\0".encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:32]
