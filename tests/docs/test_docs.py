"""The documentation says what the code does."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from scripts import reference
from undercroft.cli.main import group

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """The pages of the reference, by a process of their own: a command keeps the help option of
    the first context that it was used in."""
    program = (
        "import json; from scripts.reference import PAGES; "
        "print(json.dumps({name: page() for name, page in PAGES.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_generated_reference_is_up_to_date(name: str, generated: dict[str, str]) -> None:
    path = ROOT / "docs" / "reference" / name
    assert path.read_text() == generated[name], "run: python -m scripts.reference"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_picture_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_shown_can_be_parsed(page: Path) -> None:
    if "reference" in page.parts:
        return
    for line in re.findall(r"^(?:    |\$ )(undercroft .+)$", page.read_text(), re.MULTILINE):
        words = shlex.split(line.split("  #")[0].split("  ")[0])[1:]
        with click.Context(group, obj=None) as context:
            name, *rest = words[2:] if words[0] == "-C" else words
            command = group.get_command(context, name)
            assert command is not None, line
            command.make_context(name, rest, parent=context)


def test_every_decision_says_what_was_decided_and_why() -> None:
    for page in (ROOT / "docs" / "decisions").glob("0*.md"):
        text = page.read_text()
        assert "**Decided.**" in text, page.name
        assert "**Why.**" in text, page.name


def test_every_command_that_an_error_suggests_exists() -> None:
    """The next command in a message is worth nothing when it is not one."""
    for file in (ROOT / "src").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for first, second in re.findall(
            r": undercroft (?:-C \S+ )?([a-z]+)(?: ([a-z][a-z-]*))?", text
        ):
            with click.Context(group) as context:
                command = group.get_command(context, first)
                assert command is not None, (file, first)
                if isinstance(command, click.Group) and not command.invoke_without_command:
                    assert second in command.commands, (file, first, second)
