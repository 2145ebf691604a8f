"""What is written under ``sources`` -> where to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from undercroft.collect.documents import Source
from undercroft.collect.files import FileSource
from undercroft.collect.hub import HubDataset
from undercroft.collect.python_docs import PythonDocs
from undercroft.collect.site import Site
from undercroft.collect.store import ObjectStore
from undercroft.settings import CollectSettings

Maker = Callable[[str, Path, CollectSettings], Source]


def _path(spec: str, root: Path, params: CollectSettings) -> Source:
    return FileSource((root / Path(spec).expanduser()).resolve(), root, params)


#: By the whole of what is written, or by its scheme; everything else is a path.
SOURCES: Final[dict[str, Maker]] = {
    "python-docs": lambda _spec, _root, _params: PythonDocs(),
    **{
        scheme: lambda spec, _root, params: Site(spec, params.refresh_hours)
        for scheme in ("http", "https")
    },
    **{
        scheme: lambda spec, _root, params: ObjectStore(spec, params)
        for scheme in ("s3", "gs", "abfs")
    },
}


def source_of(spec: str, root: Path, params: CollectSettings) -> Source:
    """The source that ``spec`` names; relative paths are relative to ``root``."""
    if spec.startswith("hf:"):
        return HubDataset(spec, root, params)
    scheme, colon, _ = spec.partition("://")
    maker = SOURCES.get(scheme.lower() if colon else spec, _path)
    return maker(spec, root, params)
