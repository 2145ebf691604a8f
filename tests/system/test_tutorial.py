"""The tutorial's commands work, in its order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.system.conftest import BroughtUp

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
MAY_COMPLAIN = {"doctor"}  # about the machine the test runs on


def test_every_command_of_the_tutorial_works(brought_up: BroughtUp) -> None:
    commands = re.findall(r"^    undercroft (.+)$", TUTORIAL.read_text(), re.MULTILINE)
    assert len(commands) > 12
    for command in commands:
        words = shlex.split(command)
        done = brought_up.shell.run(*words)
        assert done.returncode == 0 or MAY_COMPLAIN & set(words), (command, done.stderr)
    assert (brought_up.shell.folder / "lineage.svg").read_text().startswith("<svg")
