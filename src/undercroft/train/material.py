"""What a run reads: examples as chats, documents as text, and several of them at once.

A `Source` is brought together in the stage, which knows the ledger and the lake, and is plain data;
a `Material` is made of it where the model is, with its tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from undercroft.errors import BadConfig, BadInput, BadRef, NotFound
from undercroft.project import Project
from undercroft.records import Artifact, Example
from undercroft.retrieve.prompt import Template
from undercroft.settings import LessonSettings, TuneSettings
from undercroft.stage import StageRun
from undercroft.train.refusals import examples_of
from undercroft.train.samples.data import distinct, packs, thinned
from undercroft.train.samples.mixture import Mixture, OfTask, mixed

if TYPE_CHECKING:
    from undercroft.train.objectives.objective import Objective

Params = TuneSettings | LessonSettings

_MEASURED: Final = 64  # samples that a task's targets are counted on
_MOST_ROUNDS: Final = 8  # through the main task before what is beside it comes again


@dataclass(frozen=True, slots=True)
class Source:
    """One artifact's data: examples, or the folder of a `corpus`; ``task`` is what it is called.

    ``share`` is how much of the loss's weight it has.
    """

    task: str
    examples: tuple[Example, ...] = ()
    corpus: Path | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """How data are read: by whom, and how much at once."""

    tokenizer: Any
    title: str | Template
    max_tokens: int
    micro_batch_size: int
    seed: int

    @classmethod
    def of(cls, params: Params, model: Any, tokenizer: Any, title: str | Template) -> Reading:
        """As ``params`` say, and no more tokens at once than ``model`` knows positions for."""
        context = getattr(model.config, "max_position_embeddings", None) or params.max_tokens
        most = min(params.max_tokens, int(context))
        return cls(tokenizer, title, most, params.micro_batch_size, params.seed)


@dataclass(frozen=True, slots=True)
class Material:
    """Samples, and the objective that makes a loss of them; and those that are held out."""

    goal: Objective[Any]
    samples: Sequence[Any]
    heldout: Sequence[Any] = ()


def sourced(
    run: StageRun,
    artifact: Artifact,
    base: Path,
    params: Params,
    *,
    unanswerable: float = 0.0,
    share: float = 0.0,
) -> Source:
    """The data of ``artifact``, examples or a dataset; documents in the tokens of ``base``.

    Of examples at most a share of ``unanswerable`` is taken, where that is not 0.
    Raises `BadInput` for another kind, and where there is nothing to learn.
    """
    task = f"{artifact.kind}-{artifact.name}"
    if artifact.kind == "examples":
        found = examples_of(run, artifact)
        kept = distinct(found, str(artifact.ref))
        if len(kept) < len(found):
            run.event("duplicates", of=str(artifact.ref), examples=len(found) - len(kept))
        if unanswerable:
            kept = thinned(kept, unanswerable, params.seed)
        return Source(task, tuple(kept), share=share)
    if artifact.kind != "dataset":
        raise BadInput(
            f"{artifact.ref} cannot be trained on.",
            "Examples are read as chats and datasets as text; nothing else is.",
            "Name examples:NAME or dataset:NAME; see: undercroft ls",
        )
    from undercroft.train.samples import corpus

    folder = run.workdir / f"corpus-{artifact.digest[:12]}"
    corpus.prepare(
        run.project,
        artifact,
        folder,
        vocabulary=0,
        context=params.max_tokens,
        tokenizer=base,
        tell=lambda done, total, what: run.progress(done, total, "documents", what),
    )
    return Source(task, corpus=folder, share=share)


def material(source: Source, how: Reading) -> Material:
    """``source`` as samples of at most ``how.max_tokens`` tokens."""
    from undercroft.train.objectives.objective import objective
    from undercroft.train.samples import corpus
    from undercroft.train.samples.packing import pack

    if source.corpus is None:
        goal = objective("sft", how.tokenizer, how.title, how.max_tokens)
        return Material(goal, packs(source.examples, how.micro_batch_size))
    read, _, _ = corpus.read(source.corpus)
    goal = objective("next_token", how.tokenizer, how.title, how.max_tokens, reads="documents")
    return Material(goal, pack(read, how.max_tokens, 1, how.seed))


def sources_beside(
    run: StageRun, beside: Mapping[str, Artifact], base: Path, params: TuneSettings
) -> list[Source]:
    """What ``params`` name beside the first; ``beside`` has the artifacts by those names."""
    shares = params.beside
    return [sourced(run, beside[name], base, params, share=shares[name]) for name in shares]


def artifacts_beside(project: Project, params: TuneSettings, section: str) -> dict[str, Artifact]:
    """The artifacts that the settings name beside the first, by those names.

    Raises `BadConfig` for one that there is not, and for shares that leave nothing.
    """
    total = sum(params.beside.values())
    if total >= 1:
        raise BadConfig(
            f"{section}.beside leaves nothing for what is trained on first.",
            f"Its shares are {total:g} together.",
            "Make them less than 1 together.",
        )
    found: dict[str, Artifact] = {}
    for name in params.beside:
        try:
            found[name] = project.ledger.artifact(name)
        except (NotFound, BadRef) as error:
            what = f"{section}.beside names {name!r}, which there is not."
            raise BadConfig(what, error.what, error.do) from error
    return found


def together(main: Material, task: str, beside: Sequence[Source], how: Reading) -> Material:
    """``main`` and what is ``beside`` it, each with its share of the samples, all of one weight.

    All of ``main`` is read as often as all else needs to be read once, within bounds. Raises
    `BadInput` for data that give no sample.
    """
    from undercroft.train.objectives.tasks import Tasks

    if not beside:
        return main
    parts = {task: main}
    for source in beside:
        parts[_new_name(source.task, parts)] = material(source, how)
    left = 1 - sum(source.share for source in beside)
    dues = [source.share / left * len(main.samples) for source in beside]
    sizes = [len(each.samples) for each in list(parts.values())[1:]]
    whole = max(size / due for size, due in zip(sizes, dues, strict=True))
    rounds = min(math.ceil(whole), _MOST_ROUNDS)
    samples: Mixture[Any] = mixed(
        [OfTask(name, each.samples) for name, each in parts.items()],
        [rounds * len(main.samples), *(max(1, round(rounds * due)) for due in dues)],
        how.seed,
    )
    targets = {name: _targets(each, name, how.seed) for name, each in parts.items()}
    scales = {name: targets[task] / count for name, count in targets.items()}
    goal = Tasks({name: each.goal for name, each in parts.items()}, scales)
    return Material(goal, samples, OfTask(task, main.heldout))


def _new_name(task: str, taken: Collection[str]) -> str:
    """``task``, or with a number behind it where another version of the same data is there."""
    names = chain([task], (f"{task}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _targets(found: Material, task: str, seed: int) -> float:
    """Of a sample, in the mean over some that are drawn."""
    draw = Random(f"{seed}:targets:{task}")  # noqa: S311 - a sample, not secrecy
    numbers = draw.sample(range(len(found.samples)), min(_MEASURED, len(found.samples)))
    batches = [found.goal.collate(found.samples[number]) for number in numbers]
    counts = [batch.count for batch in batches if batch is not None]
    if not counts:
        raise BadInput(
            f"Nothing of {task} can be trained on.",
            "None of what was looked at is short enough.",
            "Raise max_tokens, or leave it out.",
        )
    return sum(counts) / len(numbers)
