"""``evaluate(suite, base, tuned, index, embedding) -> scorecard``.

cases -> passages -> answers of base and of tuned, side by side -> scores -> intervals
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from undercroft.engines import DEFAULT_ENGINE, Engine, sampling_params, start_engine
from undercroft.engines.child import usable_cores
from undercroft.evaluate.suite import read_suite
from undercroft.project import Project
from undercroft.records import Artifact, Example
from undercroft.settings import EvaluateSettings
from undercroft.stage import Made, StageRun, stage

if TYPE_CHECKING:
    from undercroft.evaluate.ask import Question
    from undercroft.evaluate.journal import Answered, Journal
    from undercroft.evaluate.kept import Kept

JOURNAL = "answers.jsonl"
READY_S = 120.0


def _served_as(project: Project, params: EvaluateSettings) -> str:
    """What the result depends on besides: settings of other sections, and texts to be kept."""
    from undercroft.evaluate.kept import fingerprint

    settings = project.settings
    texts = [fingerprint(project, params)] if params.keep else []
    return json.dumps(
        [
            project.prompt.fingerprint,
            settings.sampling.model_dump(mode="json"),
            settings.retrieve.model_dump(mode="json"),
            settings.model.context,
            *texts,
        ]
    )


@stage(
    "evaluate",
    version=1,
    params=EvaluateSettings,
    code=("undercroft.retrieve", "undercroft.engines"),
    fingerprint=_served_as,
)
def evaluate(
    run: StageRun,
    params: EvaluateSettings,
    *,
    suite: Artifact,
    base: Artifact,
    tuned: Artifact,
    index: Artifact,
    embedding: Artifact,
) -> Made:
    """Ask both models every case of ``suite`` as the gateway would, and compare them.

    ``base`` and ``tuned`` are GGUF files. Answers survive a crash in ``run.workdir``. Raises
    `EngineFailed` when a model cannot be run.
    """
    from undercroft.evaluate.journal import Journal
    from undercroft.evaluate.kept import differences, passages
    from undercroft.evaluate.scorecard import score

    cases = read_suite(run.project.path(suite))
    questions = _with_passages(run, cases, index, embedding)
    kept = passages(run.project, params)
    models = {"base": base, "tuned": tuned}
    with Journal(run.workdir / JOURNAL) as journal:
        _answer(run, params, models, (questions, kept), journal)
        answers = {
            side: {case: one for (model, case), one in journal.answers.items() if model == side}
            for side in models
        }
    lost = dict(differences(kept, answers["base"], answers["tuned"], params))
    card = score(questions, answers["base"], answers["tuned"], params, lost)
    folder = card.write(run.workdir / "scorecard")
    meta = {
        "evaluation": card.evaluation,
        "models": {side: str(model.ref) for side, model in models.items()},
        "suite": str(suite.ref),
        "index": str(index.ref),
        "embedding": str(embedding.ref),
    }
    return Made("scorecard", run.project.name, path=folder, meta=meta)


def _with_passages(
    run: StageRun, cases: Sequence[Example], index: Artifact, embedding: Artifact
) -> list[Question]:
    """Each case with what retrieval finds for it.

    Unanswerable cases keep the passages they were made with: searched for, the answer would be
    found in the index, and refusing would be wrong.
    """
    from undercroft.evaluate.ask import Question
    from undercroft.retrieve import Embedder, Retriever

    settings, refusal = run.project.settings.retrieve, run.project.prompt.refusal
    table, version = run.project.table(index)
    retriever = Retriever(table, version, Embedder.load(run.project.path(embedding)))
    return [
        Question(
            case,
            tuple(
                retriever.search(
                    case.question, settings.passages, settings.candidates, rerank=settings.rerank
                )
            )
            if case.answerable
            else case.passages,
            refusal,
        )
        for case in cases
    ]


def _answer(
    run: StageRun,
    params: EvaluateSettings,
    models: Mapping[str, Artifact],
    asked: tuple[Sequence[Question], Sequence[Kept]],
    journal: Journal,
) -> None:
    """Have every model answer what the journal does not hold yet.

    Both engines run at once, each on its share of the cores and one question at a time: a core
    that waits for no other reads prompts faster than two that share the work (lab book).
    """
    questions, kept = asked
    total = (len(questions) + len(kept)) * len(models)

    def done(answered: Answered) -> None:
        journal.append(answered)
        run.progress(len(journal.answers), total, "answers", answered.model)

    left = {
        side: (
            [q for q in questions if (side, q.case.id) not in journal.answers],
            [each for each in kept if (side, each.case) not in journal.answers],
        )
        for side in models
    }
    run.progress(len(journal.answers), total, "answers")
    with ExitStack() as stack:
        engines = {
            side: stack.enter_context(_start(run, side, model, len(models)))
            for side, model in models.items()
            if any(left[side])
        }
        for engine in engines.values():
            engine.wait_ready(READY_S)
        asyncio.run(_answer_side_by_side(run, params, engines, left, done))


async def _answer_side_by_side(
    run: StageRun,
    params: EvaluateSettings,
    engines: Mapping[str, Engine],
    left: Mapping[str, tuple[Sequence[Question], Sequence[Kept]]],
    done: Callable[[Answered], None],
) -> None:
    from undercroft.evaluate.ask import Manner, answer_all
    from undercroft.evaluate.kept import score_all

    settings = run.project.settings
    sampling = sampling_params(settings.sampling, params.seed) | {"max_tokens": params.max_tokens}
    manner = Manner(run.project.prompt, sampling)

    async def ask(side: str, engine: Engine) -> None:
        questions, kept = left[side]
        await answer_all(engine, side, questions, manner, done)
        await score_all(engine, side, kept, done)

    await asyncio.gather(*(ask(side, engine) for side, engine in engines.items()))


def _start(run: StageRun, side: str, model: Artifact, engines: int) -> Engine:
    return start_engine(
        str(model.meta.get("engine", DEFAULT_ENGINE)),
        run.project.path(model),
        context=run.project.settings.model.context,
        slots=1,
        threads=max(1, usable_cores() // engines),
        log=run.workdir / f"{side}.log",
    )
