"""What ``undercroft up`` does around the main job: find the project, serve what it made, stop.

`find_target` turns a folder, file or address into a project; `System` is the gateway and the
console as two supervised processes; `ask` puts one question to the gateway over HTTP.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from undercroft import config
from undercroft.errors import BadSource, Busy, EngineFailed, NotFound, UndercroftError
from undercroft.processes import Child, read_announcement
from undercroft.project import Project

GATEWAY_READY_S = 90.0
CONSOLE_READY_S = 60.0
LOCAL_KEY = "local.key"
RESTARTS = 3


def find_target(target: str) -> Path:
    """The project folder for a ``FOLDER``, ``FILE`` or ``URL``.

    A folder is its own project. A file or an address gets a new folder here, named after it, with
    an ``undercroft.toml`` that names it as the source. Raises `BadSource` for what is neither.
    """
    if re.match(r"https?://", target):
        parts = urllib.parse.urlsplit(target)
        return _project_for(target, f"{parts.hostname or ''}{parts.path}")
    path = Path(target).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        return _project_for(str(path.resolve()), path.stem)
    raise BadSource(
        f"There is no folder or file {target!r}, and it is not an http(s) address.",
        do="Give a folder of documents, one document, or a URL.",
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
    for part in ("serve", "console"):
        section = getattr(project.settings, part)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((section.host, section.port))
            except OSError as error:
                raise Busy(
                    f"Port {section.port} on {section.host} is in use.",
                    f"The {part} process cannot listen there ({error.strerror}).",
                    f"Give another: undercroft up … --set {part}.port=0 takes any free one.",
                ) from error


def local_key(project: Project) -> str:
    """The API key of this machine's own console and commands, made when there is none."""
    path = project.state / LOCAL_KEY
    if path.exists():
        secret = path.read_text(encoding="utf-8").strip()
        if project.trust.keys.identify(secret) is not None:
            return secret
    _, secret = project.trust.keys.create("local", "admin")
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")
    return secret


@dataclass
class System:
    """The gateway and the console of one project, as children of this process."""

    project: Project
    children: dict[str, Child] = field(default_factory=dict)
    restarts: int = 0

    def start(self, console: bool = True) -> dict[str, str]:
        """Start both and wait until they answer; their URLs by part.

        Raises `EngineFailed` with the last words of the one that did not come up.
        """
        local_key(self.project)
        self._launch("gateway", "undercroft.serve")
        if console:
            self._launch("console", "undercroft.console")
        urls = dict(self._ready("gateway", "serve.json", GATEWAY_READY_S))
        if console:
            urls |= self._ready("console", "console.json", CONSOLE_READY_S)
        return urls

    def _launch(self, name: str, module: str) -> None:
        log = self.project.state / "logs" / f"{name}.log"
        self.children[name] = Child.start(name, ["-m", module, str(self.project.root)], log)

    def _ready(self, name: str, file: str, timeout_s: float) -> dict[str, str]:
        facts = self.children[name].wait_for(self.project.state / file, timeout_s)
        urls: dict[str, str] = facts["urls"]
        return urls

    def watch(self) -> None:
        """Stay until interrupted; a part that dies is started again, a few times."""
        while True:
            time.sleep(0.5)
            for name, child in list(self.children.items()):
                if child.alive():
                    continue
                self.restarts += 1
                if self.restarts > RESTARTS:
                    raise child.failure(f"The {name} process keeps dying.")
                self._launch(
                    name, "undercroft.serve" if name == "gateway" else "undercroft.console"
                )

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
    for file in ("serve.json", "console.json"):
        facts = read_announcement(project.state / file)
        if facts is not None:
            urls |= facts["urls"]
    return urls


def smoke_question(project: Project, suite: Path) -> str:
    """The question that ``up --once`` asks: the setting, or the first held-out one."""
    chosen = project.settings.project.smoke_question
    if chosen:
        return chosen
    for line in (suite / "cases.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        if case["answerable"]:
            return str(case["question"])
    raise NotFound("The suite has no answerable question.", do="Set project.smoke_question.")


def ask(project: Project, question: str) -> Iterator[dict[str, Any]]:
    """Put ``question`` to the running gateway; yields the stream's chunks as they arrive.

    Raises `NotFound` when nothing serves this project and `EngineFailed` with the gateway's own
    words when it refuses.
    """
    api = urls_of(project).get("api")
    if api is None:
        raise NotFound(
            f"Nothing serves {project.name} now.", do=f"Start it with: undercroft up {project.root}"
        )
    parts = urllib.parse.urlsplit(api)
    body = {
        "model": project.name,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": question}],
    }
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=180)
    try:
        connection.request(
            "POST",
            f"{parts.path}/chat/completions",
            json.dumps(body),
            {
                "authorization": f"Bearer {local_key(project)}",
                "content-type": "application/json",
            },
        )
        yield from _events(connection.getresponse())
    except OSError as error:
        raise EngineFailed("The gateway hung up.", f"{error}.", "See: undercroft status") from error
    finally:
        connection.close()


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    if response.status != 200:
        raise _refusal(response.read())
    for line in response:
        data = line.removeprefix(b"data: ").strip()
        if not line.startswith(b"data: ") or data == b"[DONE]":
            continue
        chunk: dict[str, Any] = json.loads(data)
        if chunk.get("error"):
            raise _refusal(data)
        yield chunk


def _refusal(body: bytes) -> UndercroftError:
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")[:200]
    return EngineFailed("The gateway refused the question.", message)


def collect_answer(chunks: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """The whole answer of `ask` as ``{id, text, sources}``."""
    answer: dict[str, Any] = {"id": "", "text": "", "sources": []}
    for chunk in chunks:
        answer["id"] = chunk.get("id") or answer["id"]
        answer["sources"] = chunk.get("sources") or answer["sources"]
        for choice in chunk.get("choices", ()):
            answer["text"] += choice.get("delta", {}).get("content") or ""
    return answer
