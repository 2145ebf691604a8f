"""The command line itself: quick, documented, and with an example everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from undercroft.cli.main import COMMANDS, ELSEWHERE, group, main

ROOT = Path(__file__).parents[2]


def commands() -> list[tuple[str, click.Command]]:
    found = []
    with click.Context(group) as context:
        for name in COMMANDS:
            command = group.get_command(context, name)
            assert command is not None
            found.append((name, command))
            if isinstance(command, click.Group):
                found += [(f"{name} {sub}", item) for sub, item in command.commands.items()]
    return found


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_command_has_help_with_an_example(name: str, command: click.Command) -> None:
    assert command.help
    assert "Example" in (command.epilog or ""), name


READING = [
    "status",
    "doctor",
    "ls",
    "show",
    "runs",
    "lineage",
    "key ls",
    "audit verify",
    "audit ls",
    "data ls",
    "data log",
    "data show",
    "data diff",
    "data verify",
]


@pytest.mark.parametrize("name", READING)
def test_every_reading_command_has_json(name: str) -> None:
    command = dict(commands())[name]
    assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom undercroft.cli.main import group\n"
        "group.main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'lance', 'pyarrow', 'nicegui', 'sqlalchemy', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    times = []
    for _ in range(3):
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        times.append(time.monotonic() - started)
        assert done.returncode == 0, done.stderr
    assert "Commands" in done.stdout


def test_init_writes_a_file_once_and_never_over_it(tmp_path: Path) -> None:
    runner = CliRunner()
    folder = tmp_path / "handbook"
    done = runner.invoke(group, ["init", str(folder)])
    assert done.exit_code == 0
    assert "next:  undercroft up" in done.output
    text = (folder / "undercroft.toml").read_text()
    assert 'name = "handbook"' in text
    assert "# minutes = 2.0" in text
    again = runner.invoke(group, ["init", str(folder)])
    assert again.exit_code != 0
    assert (folder / "undercroft.toml").read_text() == text


MISUSED = [
    "relese",
    "release strat",
    "release start --pairs x",
    "release abtest start --share nan",
    "release history --limit 0",
    "runs watch --every nan",
    "serve tune --tasks 0",
    "serve tune --loss nan",
    "ls --limit -1",
    "-C",
]


@pytest.mark.parametrize("line", MISUSED)
def test_a_misused_command_says_so_like_every_other_error(line: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    first, *rest = said.err.splitlines()
    assert first.startswith("error: ")
    assert rest == [] or rest[-1].strip().startswith("See: undercroft")


def test_what_other_tools_call_it_leads_to_what_it_is_called_here(capsys) -> None:
    assert set(ELSEWHERE.values()) <= set(COMMANDS)
    with pytest.raises(SystemExit):
        main(["trace", "answer:1"])
    assert "Did you mean 'lineage'?" in capsys.readouterr().err


def test_a_misused_command_says_so_in_json_where_json_was_asked_for(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["release", "status", "--htm", "x", "--json"])
    error = json.loads(capsys.readouterr().err)["error"]
    assert (ended.value.code, error["code"]) == (2, "bad_input")
    assert "--html" in error["what"]
    assert error["do"] == "See: undercroft release status --help"
