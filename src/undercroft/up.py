"""What ``undercroft up`` does around the main job: find the project, serve what it made, stop.

`find_target` turns a folder, file or address into a project; `System` is the gateway and the
console as two supervised processes.
"""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

from undercroft import config
from undercroft.client import local_key
from undercroft.errors import BadSource, NotFound
from undercroft.processes import CONSOLE, GATEWAY, Child, Part, read_announcement
from undercroft.project import Project
from undercroft.records import Ref

PARTS = (GATEWAY, CONSOLE)
RESTARTS = 3


def find_target(target: str) -> Path:
    """The project folder for a ``FOLDER``, ``FILE``, ``URL``, API, bucket or dataset of the Hub.

    A folder is its own project. A file or an address gets a new folder here, named after it, with
    an ``undercroft.toml`` that names it as the source. Raises `BadSource` for what is neither.
    """
    if re.match(r"(?:s3|gs|abfs)://|hf:[^.~/]", target):
        return _project_for(target, target.partition("?")[0].partition(":")[2])
    if re.match(r"(?:api:)?https?://", target):
        parts = urllib.parse.urlsplit(target.removeprefix("api:"))
        return _project_for(target, f"{parts.hostname or ''}{parts.path}")
    path = Path(target).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        return _project_for(str(path.resolve()), path.stem)
    raise BadSource(
        f"There is no folder or file {target!r}, and it is not an http(s) address.",
        do="Give a folder, a document, a URL, s3://bucket/prefix, hf:owner/name or api:https://….",
    )


def _project_for(source: str, label: str) -> Path:
    name = config.slug(label)
    folder = Path(name + "-undercroft")
    folder.mkdir(exist_ok=True)
    settings = folder / config.FILE_NAME
    if not settings.exists():
        settings.write_text(
            f'[project]\nname = "{name}"\n\n[collect]\nsources = [{json.dumps(source)}]\n',
            encoding="utf-8",
        )
    return folder


def check_ports(project: Project) -> None:
    """Raise `Busy` now rather than after minutes of training when a port is taken."""
    for part in PARTS:
        section = getattr(project.settings, part.section)
        part.listen(section.host, section.port).close()


@dataclass
class System:
    """The gateway and the console of one project, as children of this process."""

    project: Project
    children: dict[Part, Child] = field(default_factory=dict[Part, Child])
    restarts: int = 0

    def start(self, console: bool = True) -> dict[str, str]:
        """Start both and wait until they answer; their URLs by part.

        Raises `EngineFailed` with the last words of the one that did not come up.
        """
        local_key(self.project)
        for part in PARTS if console else (GATEWAY,):
            self._launch(part)
        urls: dict[str, str] = {}
        for part, child in self.children.items():
            urls |= child.wait_for(self.project.state / part.announcement, part.ready_s)["urls"]
        return urls

    def _launch(self, part: Part) -> None:
        log = self.project.state / "logs" / f"{part.name}.log"
        arguments = ["-m", part.module, str(self.project.root)]
        self.children[part] = Child.start(part.name, arguments, log)

    def watch(self) -> None:
        """Stay until interrupted; a part that dies is started again, a few times."""
        while True:
            time.sleep(0.5)
            for part, child in list(self.children.items()):
                if child.alive():
                    continue
                self.restarts += 1
                if self.restarts > RESTARTS:
                    raise child.failure(f"The {part.name} process keeps dying.")
                self._launch(part)

    def stop(self) -> None:
        """End both, letting answers that are under way finish."""
        for child in self.children.values():
            if child.process.stdin is not None and not child.process.stdin.closed:
                child.process.stdin.close()
        for child in self.children.values():
            child.stop()


def urls_of(project: Project) -> dict[str, str]:
    """Where the running gateway and console are; empty when nothing runs."""
    urls: dict[str, str] = {}
    for part in PARTS:
        facts = read_announcement(project.state / part.announcement)
        if facts is not None:
            urls |= facts["urls"]
    return urls


def smoke_question(project: Project) -> str:
    """The question that ``up --once`` asks: the setting, or the first held-out one.

    Raises `NotFound` when there is neither.
    """
    chosen = project.settings.project.smoke_question
    if chosen:
        return chosen
    suite = project.path(project.ledger.artifact(Ref("suite", project.name)))
    for line in (suite / "cases.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        if case["answerable"]:
            return str(case["question"])
    raise NotFound("The suite has no answerable question.", do="Set project.smoke_question.")
