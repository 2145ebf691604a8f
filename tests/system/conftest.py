"""One project brought up as a user would, shared by all tests that only look at it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.corpus import write_topics

QUICK = {
    "UNDERCROFT_TRAIN__MAX_STEPS": "2",
    "UNDERCROFT_TRAIN__BATCH_SIZE": "4",
    "UNDERCROFT_TRAIN__MLFLOW": "off",
    "UNDERCROFT_INDEX__CHUNK_CHARS": "400",
    "UNDERCROFT_RETRIEVE__PASSAGES": "2",
    "UNDERCROFT_ANNOTATE__CASES": "4",
    "UNDERCROFT_EVALUATE__MAX_TOKENS": "24",
    "UNDERCROFT_COMPRESS__FORMATS": '["q8_0"]',
    "UNDERCROFT_SERVE__PORT": "0",
    "UNDERCROFT_CONSOLE__PORT": "0",
}


@dataclass
class Shell:
    """Runs ``undercroft`` as its own process, as a user's shell would."""

    folder: Path
    environ: dict[str, str] = field(default_factory=lambda: {**os.environ, **QUICK})

    def run(self, *arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=self.environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "up.log").open("ab") as log:
            return subprocess.Popen(
                self.command(*arguments),
                stdout=log,
                stderr=log,
                env=self.environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 - there are no threads here
            )

    def json(self, *arguments: str, timeout_s: float = 300) -> Any:
        done = self.run(*arguments, "--json", timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "undercroft.cli", *arguments]


def _heed_ctrl_c() -> None:
    """As under a terminal; what a shell starts in the background inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(true: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@dataclass
class BroughtUp:
    """A project after ``undercroft up FOLDER --once --json``."""

    shell: Shell
    folder: Path
    summary: dict[str, Any]


@pytest.fixture(scope="session")
def brought_up(tmp_path_factory: pytest.TempPathFactory) -> BroughtUp:
    home = tmp_path_factory.mktemp("system")
    folder = write_topics(home / "handbook")
    (folder / "copy-of-with.md").write_text((folder / "with.md").read_text())
    (folder / "tiny.md").write_text("Too short.\n")
    (folder / "photo.txt").write_bytes(bytes(range(256)) * 40)
    (folder / "contact.md").write_text(
        "# Contact\n\nThe maintainer of this handbook is reached at jane.roe@acme-corp.io. "
        "Questions about the contents of the handbook are answered within one working day.\n"
    )
    shell = Shell(home)
    summary = shell.json("up", "handbook", "--once")
    return BroughtUp(shell, folder, summary)


def error_of(shell: Shell, *arguments: str) -> tuple[int, dict[str, str]]:
    """The exit code and the error of a command that fails."""
    done = shell.run(*arguments, "--json", timeout_s=120)
    return done.returncode, json.loads(done.stderr.strip().splitlines()[-1])["error"]
