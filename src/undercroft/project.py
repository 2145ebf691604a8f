"""A project: opens ledger, lake and trust for one ``undercroft.toml``.

Everything a project owns lives under ``.undercroft/`` in its folder, or at the URLs its settings
name. Nothing is opened before it is used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undercroft import config
from undercroft.errors import BadInput, NotFound, StorageFull
from undercroft.records import Artifact, Ref
from undercroft.settings import Settings

if TYPE_CHECKING:
    from undercroft.lake import Lake, Table
    from undercroft.ledger import Ledger
    from undercroft.retrieve.prompt import Template
    from undercroft.trust import Trust

STATE_FOLDER = ".undercroft"
WANTED = "wanted"
"""The alias of the prompt that the next model and route are made with."""


@dataclass(frozen=True)
class Project:
    """One folder with its settings, and the stores that stand behind it."""

    root: Path
    settings: Settings
    origin: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path | str, overrides: Mapping[str, Any] | None = None) -> Project:
        """Open the project in ``folder``, making its state folder when there is none.

        Raises `NotFound` when the folder does not exist, `BadConfig` when its settings are wrong
        and `BadInput` when the state folder cannot be written.
        """
        root = Path(folder).expanduser().resolve()
        if not root.is_dir():
            raise NotFound(f"There is no folder {root}.", do="Give the folder of a project.")
        loaded = config.load(root, overrides)
        project = cls(root, loaded.settings, loaded.origin)
        try:
            project.state.mkdir(mode=0o700, exist_ok=True)
            (project.state / ".gitignore").write_text("*\n", encoding="utf-8")
        except OSError as error:
            if error.errno == 28:
                raise StorageFull(f"The disk of {root} is full.", do="Make room.") from error
            raise BadInput(
                f"{project.state} cannot be written.",
                f"{error.strerror}.",
                "Give a folder you may write to, or copy the documents to one.",
            ) from error
        return project

    @property
    def state(self) -> Path:
        """The folder of everything that the project owns on this machine."""
        return self.root / STATE_FOLDER

    @property
    def name(self) -> str:
        return self.settings.project.name

    @property
    def title(self) -> str:
        return self.settings.project.title or self.name

    @cached_property
    def ledger(self) -> Ledger:
        from undercroft.ledger import Ledger

        url = self.settings.store.ledger or f"sqlite:///{self.state / 'ledger.db'}"
        return Ledger.open(url, self.state / "trust")

    @cached_property
    def lake(self) -> Lake:
        from undercroft.lake import Lake

        return Lake(self.settings.store.lake or str(self.state / "lake"))

    @cached_property
    def trust(self) -> Trust:
        from undercroft.trust import Trust

        return Trust.open(self.ledger.engine, self.state / "trust")

    @property
    def prompt(self) -> Template:
        """What questions are put with when something is trained, judged or released from now on:
        the texts of ``prompt:NAME@wanted``, else the default's."""
        try:
            return self.template(str(Ref("prompt", self.name, alias=WANTED)))
        except NotFound:
            return self.template("")

    def template(self, ref: str) -> Template:
        """The template of the artifact ``ref``, such as a route names; "" is the default.

        Raises `NotFound`.
        """
        from undercroft.retrieve.prompt import Template

        texts = self.ledger.artifact(ref).meta["texts"] if ref else {}
        return Template.of(self.title, texts)

    @property
    def jobs_url(self) -> str:
        """Database URL of the durable queues."""
        return self.settings.store.jobs or f"sqlite:///{self.state / 'jobs.db'}"

    def path(self, artifact: Artifact) -> Path:
        """Where the file or folder of a blob artifact is."""
        if not artifact.uri.startswith("blob:"):
            raise BadInput(f"{artifact} is not a file.", f"It is kept at {artifact.uri}.")
        return self.lake.blobs.path(artifact.uri)

    def table(self, artifact: Artifact) -> tuple[Table, int]:
        """The lake table of a table artifact, and the version that it pins."""
        scheme, _, rest = artifact.uri.partition(":")
        name, _, version = rest.partition("@")
        if scheme != "table":
            raise BadInput(f"{artifact} is not a table.", f"It is kept at {artifact.uri}.")
        return self.lake.table(name), int(version)


def find_root(start: Path | None = None) -> Path:
    """The project a command means when it names none.

    In order: ``UNDERCROFT_PROJECT``, the nearest folder upwards from ``start`` that has an
    ``undercroft.toml`` or a state folder, the project that was up last. Raises `NotFound`.
    """
    named = os.environ.get("UNDERCROFT_PROJECT")
    if named:
        return Path(named)
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / config.FILE_NAME).exists() or (folder / STATE_FOLDER / "ledger.db").exists():
            return folder
    last = _last_file()
    if last.exists():
        root = Path(last.read_text(encoding="utf-8").strip())
        if root.is_dir():
            return root
    raise NotFound(
        "There is no project here.",
        do="Make one with: undercroft up FOLDER   (or name one with --project DIR)",
    )


def remember_root(root: Path) -> None:
    """Let `find_root` fall back to ``root`` from anywhere."""
    last = _last_file()
    try:
        last.parent.mkdir(parents=True, exist_ok=True)
        last.write_text(str(root), encoding="utf-8")
    except OSError:
        pass  # a home that cannot be written only costs the convenience


def _last_file() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "undercroft" / "last-project"
