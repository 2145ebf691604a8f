"""Driving the console: its process, and a browser tab that remembers complaints and requests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from undercroft.project import Project

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@dataclass
class Tab:
    """A page with everything it complained about and everything it asked for."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._said)
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)
        self.page.wait_for_selector("main h1")
        self.page.wait_for_function("() => window.did_handshake")

    def click(self, selector: str) -> None:
        """Click a link and wait until its page is there."""
        self.page.click(selector)
        self.page.wait_for_function("() => !document.querySelector('main[aria-busy]')")
        self.page.wait_for_selector("main h1")

    @property
    def title(self) -> str:
        return self.page.inner_text("main h1")

    @property
    def foreign(self) -> list[str]:
        """Requests that went anywhere but to the console."""
        local = (self.base, self.base.replace("http", "ws"), "data:", "blob:")
        return [url for url in self.requests if not url.startswith(local)]


@contextmanager
def started(project: Project, module: str, announcement: str, *arguments: str) -> Iterator[str]:
    """Run ``python -m module`` on the project until the block ends; the URL it announces."""
    log = (project.state / f"{module}.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(project.root), *arguments], stdout=log, stderr=log
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                facts = json.loads((project.state / announcement).read_text())
            except (OSError, ValueError):
                facts = {}
            if facts.get("pid") == process.pid:
                yield next(iter(facts["urls"].values()))
                return
            assert process.poll() is None, Path(log.name).read_text()
            time.sleep(0.05)
        raise AssertionError(f"{module} was not ready: {Path(log.name).read_text()}")
    finally:
        process.terminate()
        process.wait(20)
        log.close()
