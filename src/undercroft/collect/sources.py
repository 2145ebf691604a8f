"""What is written under ``sources`` -> where to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from undercroft.collect.api import Api
from undercroft.collect.documents import Source
from undercroft.collect.files import FileSource
from undercroft.collect.hub import HubDataset
from undercroft.collect.python_docs import PythonDocs
from undercroft.collect.site import Site
from undercroft.collect.store import ObjectStore
from undercroft.collect.traffic import Traffic
from undercroft.settings import CollectSettings

if TYPE_CHECKING:
    from undercroft.project import Project

Maker = Callable[[str, "Project", CollectSettings], Source]


def _python_docs(_spec: str, _project: Project, _params: CollectSettings) -> Source:
    return PythonDocs()


def _site(spec: str, _project: Project, params: CollectSettings) -> Source:
    return Site(spec, params.refresh_hours)


def _store(spec: str, _project: Project, params: CollectSettings) -> Source:
    return ObjectStore(spec, params)


def _hub(spec: str, project: Project, params: CollectSettings) -> Source:
    return HubDataset(spec, project.root, params)


def _api(spec: str, _project: Project, params: CollectSettings) -> Source:
    return Api(spec, params)


def _traffic(spec: str, project: Project, _params: CollectSettings) -> Source:
    return Traffic(spec, project)


def _path(spec: str, project: Project, params: CollectSettings) -> Source:
    return FileSource((project.root / Path(spec).expanduser()).resolve(), project.root, params)


#: By what is written before the first colon; everything else is a path.
SOURCES: Final[dict[str, Maker]] = {
    "python-docs": _python_docs,
    "http": _site,
    "https": _site,
    "s3": _store,
    "gs": _store,
    "abfs": _store,
    "hf": _hub,
    "api": _api,
    "traffic": _traffic,
}


def source_of(spec: str, project: Project, params: CollectSettings) -> Source:
    """The source that ``spec`` names; relative paths are relative to the project's folder."""
    maker = SOURCES.get(spec.partition(":")[0].lower(), _path)
    return maker(spec, project, params)
