"""``undercroft``: the group of all commands, and how their errors are shown."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from undercroft import __version__
from undercroft.errors import BadInput, UndercroftError, nearest

if TYPE_CHECKING:
    from undercroft.project import Project

NAME = "undercroft"

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("undercroft.cli.up", "Documents -> a served assistant that cites its sources."),
    "watch": ("undercroft.cli.watch", "Take in what changes in the sources, all the time."),
    "ask": ("undercroft.cli.ask", "Ask the served assistant."),
    "init": ("undercroft.cli.project", "Write a commented undercroft.toml."),
    "status": ("undercroft.cli.project", "What is running and what is served."),
    "stop": ("undercroft.cli.project", "Stop what `up` left running."),
    "doctor": ("undercroft.cli.doctor", "Check this machine and this project."),
    "ls": ("undercroft.cli.artifacts", "List artifacts."),
    "show": ("undercroft.cli.artifacts", "Show an artifact, a document or an answer."),
    "data": ("undercroft.cli.data", "Versions of a dataset: history, diff, export, proof."),
    "suite": ("undercroft.cli.suite", "Register evaluation suites that no dataset may hold."),
    "plan": ("undercroft.cli.plan", "Lay a model over devices, and say what memory it takes."),
    "pretrain": ("undercroft.cli.pretrain", "A model and tokenizer from random weights."),
    "align": ("undercroft.cli.align", "Train a model to prefer what was chosen."),
    "distil": ("undercroft.cli.distil", "Train a model to say what another would say."),
    "compress": ("undercroft.cli.compress", "A model in fewer bits, or its adapters alone."),
    "forgetting": ("undercroft.cli.forgetting", "What later models lost of what earlier knew."),
    "memorisation": ("undercroft.cli.memorisation", "What a model gives back of what it read."),
    "runs": ("undercroft.cli.runs", "List runs, show one, compare several, or write a report."),
    "lineage": ("undercroft.cli.lineage", "What something was made from, and what came of it."),
    "model": ("undercroft.cli.model", "Bring models along that run elsewhere."),
    "cache": ("undercroft.cli.cache", "Questions taken for earlier ones, before or after."),
    "prompt": ("undercroft.cli.prompt", "The prompt's texts: versions, differences, a new one."),
    "key": ("undercroft.cli.key", "Create, list and revoke API keys."),
    "secret": ("undercroft.cli.secret", "Keep secrets sealed, such as keys of remote models."),
    "audit": ("undercroft.cli.audit", "Read and verify the audit log."),
    "consent": ("undercroft.cli.consent", "Whose exchanges may be learnt from."),
    "forget": ("undercroft.cli.forget", "Erase a document and list everything it reached."),
    "serve": ("undercroft.cli.serve", "Serve in the foreground; tune the engine to this machine."),
    "engine": ("undercroft.cli.engine", "Build llama.cpp for this machine's processor."),
    "release": ("undercroft.cli.release", "Roll a new route out: start, status, promote, abtest."),
    "rollback": ("undercroft.cli.artifacts", "Serve the previous route again."),
    "worker": ("undercroft.cli.worker", "Carry out queued stages in this process."),
}

#: What other tools call it.
ELSEWHERE = {
    "trace": "lineage", "rollout": "release", "deploy": "release", "canary": "release",
    "train": "up", "list": "ls", "get": "show", "logs": "runs", "quantize": "compress",
    "delete": "forget", "login": "key",
}  # fmt: skip


class LazyGroup(click.Group):
    """A group whose commands are imported when one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = ELSEWHERE.get(args[0]) or nearest(args[0], COMMANDS)
            hint = f" Did you mean {near!r}?" if near else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


class State:
    """What all commands share: which project is meant. It is opened when first needed."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def project(self) -> Project:
        from undercroft.project import Project, find_root

        return Project.open(self.folder or find_root())


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with:  undercroft up FOLDER   then:  undercroft ask 'your question'",
)
@click.version_option(__version__, prog_name=NAME)
@click.option(
    "--project",
    "-C",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder of the project; else the nearest one upwards, or the last that was up.",
)
@click.pass_context
def group(ctx: click.Context, folder: Path | None) -> None:
    """Own your AI from raw documents to served, cited, accountable answers."""
    ctx.obj = State(folder)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error is one line (or one JSON object) and an exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        group.main(args=given, prog_name=NAME, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        report(_misused(error), as_json="--json" in given)
        sys.exit(error.exit_code)
    except UndercroftError as error:
        report(error, as_json="--json" in given)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Stopped. Run the same command again to go on.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def _misused(error: click.ClickException) -> UndercroftError:
    """What is wrong with how a command was called, in the form of every other error."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    what = error.format_message().strip()
    what = what if what.endswith((".", "?", ")")) else f"{what}."
    return BadInput(what, do=f"See: {ctx.command_path if ctx else NAME} --help")


def report(error: UndercroftError, as_json: bool) -> None:
    """Show ``error`` on standard error, in the one form that all commands share."""
    if as_json:
        click.echo(json.dumps({"error": error.as_dict()}), err=True)
        return
    click.echo(f"error: {error.what}", err=True)
    for line in (error.why, error.do):
        if line:
            click.echo(f"       {line}", err=True)


def print_json(value: Any) -> None:
    """The one success shape of ``--json``: a single JSON value on standard output."""
    click.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))
