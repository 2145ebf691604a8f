"""``undercroft serve``: the gateway in the foreground, and what is best for it on this machine."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from undercroft.cli.bar import Tell, bar
from undercroft.cli.files import write
from undercroft.cli.main import State, print_json
from undercroft.cli.numbers import Finite
from undercroft.cli.restart import restart

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.records import Artifact
    from undercroft.tune.points import Point
    from undercroft.tune.search import Outcome
    from undercroft.tune.work import Task

FORMATS = "q8_0,q5_1,q4_1,q4_0,iq4_nl"
PARENT = "f16"


@click.group(
    invoke_without_command=True,
    epilog="Examples:  undercroft serve    undercroft serve tune --html chart.html",
)
@click.pass_context
def serve(ctx: click.Context) -> None:
    """Serve the live route in the foreground until Ctrl-C; `tune` measures what is best."""
    if ctx.invoked_subcommand is not None:
        return
    from undercroft.serve.server import run

    project = ctx.obj.project()
    click.echo(f"Starting {project.name} …", err=True)
    run(project, lambda api: click.echo(f"Serving {project.name} at {api}. Ctrl-C stops it."))


@serve.command(epilog="Example:  undercroft serve tune model:docs --html chart.html")
@click.argument("model", required=False)
@click.option("--formats", default=FORMATS, show_default=True, help="GGUF formats to try.")
@click.option(
    "--tasks", type=click.IntRange(1), default=8, show_default=True,
    help="Held-out questions to measure on.",
)  # fmt: skip
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True,
    help="Turns that each finalist gets.",
)  # fmt: skip
@click.option(
    "--loss", type=Finite(0), default=0.01, show_default=True,
    help="Share by which the best one's perplexity may be above the parent's.",
)  # fmt: skip
@click.option("--draft", help="A smaller model that may guess: model:NAME or a GGUF file.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a chart of all of them.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def tune(
    state: State, model: str | None, formats: str, tasks: int, rounds: int, loss: float,
    draft: str | None, html: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure MODEL in several formats, and the engine in several ways, on this machine.

    MODEL is one with its own weights; without it, the newest of the project. Formats are tried
    first, on the wheel and on a native build where there is one; the best then with guessed tokens,
    a smaller cache, other attention, other batches and fewer threads; what helped is put together.
    Size, speed, perplexity and divergence from 16 bits are told for each, and the one that answers
    soonest of those that are true enough. A search that was stopped goes on where it was.
    """
    from undercroft.tune.chart import as_html
    from undercroft.tune.points import facts

    project = state.project()
    parent = _parent(project, model)
    guessing = _draft(project, draft or project.settings.engine.draft)
    asked = _tasks(project, tasks)
    with bar("tune", as_json) as tell:
        files = _files(project, parent, [PARENT, *formats.split(",")], tell)
        outcome = _searched(project, files, asked, guessing, rounds, loss, tell)
    told = facts(outcome.points, outcome.best)
    if html is not None:
        write(html, as_html(told, str(parent.ref), platform.processor() or platform.machine()))
    if as_json:
        print_json({
            "model": str(parent.ref), "points": told, "failed": outcome.failed,
            "before": outcome.before.candidate.name if outcome.before else None,
        })  # fmt: skip
        return
    _print(outcome, told, loss)


def _searched(
    project: Project, files: dict[str, Path], tasks: Sequence[Task], draft: str,
    rounds: int, loss: float, tell: Tell,
) -> Outcome:  # fmt: skip
    from undercroft.engines import native, usable_cores
    from undercroft.settings import EngineSettings
    from undercroft.tune.kept import Kept
    from undercroft.tune.points import Bench
    from undercroft.tune.search import Build, search
    from undercroft.tune.work import Candidate

    settings = project.settings
    builds: Sequence[Build] = ("wheel", "native") if native.choose("auto") else ("auto",)
    whole = Candidate(PARENT, files[PARENT], EngineSettings(build=builds[0]))
    kept = Kept(_notes(files, tasks, (builds, draft, rounds, loss), settings.serve.threads))
    bench = Bench(
        whole, tasks, context=settings.model.context, threads=settings.serve.threads, tell=tell,
        kept=kept,
    )  # fmt: skip
    outcome = search(
        bench,
        files,
        builds=builds,
        cores=settings.serve.threads or usable_cores(),
        served=settings.compress.serve,
        draft=draft,
        rounds=rounds,
        most=loss,
    )
    kept.done()
    return outcome


def _notes(files: Mapping[str, Path], tasks: Sequence[Task], how: object, threads: int) -> Path:
    """Where a search over the same things is written down while it runs."""
    from undercroft.engines import native

    build = native.choose("auto")
    said = (sorted(files.items()), tasks, how, threads, native.installed(), build and build.name)
    digest = hashlib.sha256(repr(said).encode()).hexdigest()
    return files[PARENT].with_name(f"measured-{digest[:12]}.jsonl")


def _draft(project: Project, named: str) -> str:
    """The file of the model that may guess, empty for none. Raises `NotFound`."""
    from undercroft.engines.llamacpp import check_model

    if not named:
        return ""
    if not named.startswith("model:"):
        check_model(Path(named))
        return named
    path = project.path(project.ledger.artifact(named))
    return str(path if path.is_file() else next(path.glob("*.gguf"), path))


def _print(outcome: Outcome, told: Sequence[Any], loss: float) -> None:
    """The table, what the best one gains, and what to write for it."""
    from undercroft.engines import native

    for name, why in outcome.failed.items():
        click.echo(f"{name} does not run: {why}", err=True)
    for each in told:
        guessed = "" if each["accepted"] is None else f"  {each['accepted']:.0%} of guesses right"
        click.echo(
            f"{'*' if each['is_best'] else ' '} {each['name']:40} "
            f"{each['size_bytes'] / 1e6:5.0f} MB  answer {each['answer_s']:6.2f} s  prefill "
            f"{each['prefill']:6.0f}/s  decode {each['decode']:6.1f}/s  perplexity "
            f"{each['perplexity']:.4g}  divergence {each['divergence']:.5f}{guessed}"
        )
    if advice := native.advice():
        click.echo(advice)
    if outcome.best is None:
        click.echo(f"None is within {loss:.1%} of the parent's perplexity.")
        return
    _print_best(outcome.best, outcome.before)


def _print_best(best: Point, before: Point | None) -> None:
    if before is not None and before is not best:
        click.echo(
            f"The best (*) reads prompts {best.speed.prefill / before.speed.prefill:.2f} times and "
            f"writes answers {best.speed.decode / before.speed.decode:.2f} times as fast as "
            f"{before.candidate.name}."
        )
    click.echo("To use it, write in undercroft.toml:")
    click.echo(f'[compress]\nformats = ["{best.candidate.format}"]')
    click.echo(f'serve = "{best.candidate.format}"')
    if best.candidate.threads:
        click.echo(f"[serve]\nthreads = {best.candidate.threads}")
    chosen = best.candidate.engine.model_dump(exclude_defaults=True)
    if chosen.get("build") == "native":
        del chosen["build"]  # auto takes it too, and the wheel where it cannot be used
    if chosen:
        click.echo("[engine]")
    for key, value in chosen.items():
        click.echo(f"{key} = {value!r}".replace("'", '"'))


serve.add_command(restart)


def _parent(project: Project, model: str | None) -> Artifact:
    """The model to be tuned. Raises `BadInput` for one without its own weights."""
    from undercroft.errors import BadInput
    from undercroft.records import Ref

    ref = Ref.parse(model if model and ":" in model else f"model:{model or project.name}")
    found = project.ledger.artifact(ref)
    if found.meta.get("file") == "gguf":
        raise BadInput(
            f"{found.ref} is a smaller copy already.",
            f"It was made from {found.meta.get('source', 'another model')}.",
            "Name that one: its formats are what is compared.",
        )
    return found


def _tasks(project: Project, most: int) -> Sequence[Task]:
    """Held-out questions of the project's suite, each with its passages."""
    from undercroft.evaluate.suite import read_suite
    from undercroft.records import Ref
    from undercroft.retrieve.prompt import messages
    from undercroft.tune.work import Task

    suite = project.ledger.artifact(Ref("suite", project.name))
    cases = [case for case in read_suite(project.path(suite)) if case.answerable][:most]
    return [
        Task(messages(case.question, case.passages, project.prompt), case.answer) for case in cases
    ]


def _files(
    project: Project, model: Artifact, formats: Sequence[str], tell: Tell
) -> dict[str, Path]:
    """``model`` in each of ``formats``, made once and kept in the project's state."""
    from undercroft.compress.gguf_export import export
    from undercroft.compress.stage import moments_for

    folder = project.state / "tune" / f"{model.name}-{model.digest[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    missing = [name for name in formats if not (folder / f"{name}.gguf").exists()]
    tell(0, len(formats), "reading what the model learnt from")
    given = moments_for(project, model, missing)
    for done, name in enumerate(dict.fromkeys(formats)):
        file = folder / f"{name}.gguf"
        if not file.exists():
            tell(done, len(formats), f"making {name}")
            making = folder / f".{name}.making"
            export(project.path(model), making, name, f"{model.name}-{name}", moments=given)
            making.replace(file)
        found[name] = file
    return found
