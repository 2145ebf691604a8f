"""The stages ``lessons`` (a teacher and what it is shown -> what it would say) and ``student``.

The teacher is asked once: its lessons are an artifact, found again by every student that is shown
the same, with whatever settings, and the teacher is not in memory while one learns.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from undercroft.errors import BadInput
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.retrieve.prompt import Template
from undercroft.settings import DistilSettings, LessonSettings
from undercroft.stage import Made, StageRun, stage
from undercroft.train.heldout import apart
from undercroft.train.launch.job import Job, Parts, Site
from undercroft.train.material import (
    Material,
    Reading,
    Source,
    material,
    sourced,
    sources_beside,
    together,
)
from undercroft.train.models import folders
from undercroft.train.reading import of_samples, write_left_out
from undercroft.train.recording import keep_record
from undercroft.train.refusals import keep_refused
from undercroft.train.room import demand_room
from undercroft.train.student_card import student_card

if TYPE_CHECKING:
    from undercroft.train.launch.training import Trained

ADAPTER: Final = "adapter"
_CODE: Final = ("undercroft.retrieve.prompt",)


def _title(project: Project, params: LessonSettings | DistilSettings) -> str:  # noqa: ARG001
    """The prompt names what the documents are about."""
    return project.prompt.fingerprint


@stage("lessons", version=1, params=LessonSettings, code=_CODE, fingerprint=_title)
def lessons(run: StageRun, params: LessonSettings, *, teacher: Artifact, source: Artifact) -> Made:
    """Ask ``teacher`` what it would say in ``source``, examples or a dataset.

    An attempt that was stopped goes on with what it has not asked yet. Raises `BadInput` for a
    model that cannot be asked.
    """
    from undercroft.train.models.starting import demand_sound
    from undercroft.train.samples.lessons import Notebook

    check_text_model(teacher, "a teacher")
    path = run.project.path(teacher)
    run.progress(0, None, "samples", "loading the teacher")
    model, tokenizer = folders.load(path, params.precision, params.max_tokens, params.device)
    demand_sound(model, tokenizer)
    data = sourced(run, source, path, params, unanswerable=params.unanswerable)
    how = Reading.of(params, model, tokenizer, run.project.prompt)
    shown = material(data, how)
    notebook = Notebook(run.workdir / "lessons")
    targets = _ask(run, model.eval(), shown, notebook, params)
    facts = {
        "teacher": str(teacher.ref),
        "tokenizer": same_tokens(run.project, teacher, teacher),
        "temperature": params.temperature,
        "top_k": params.top_k,
        "max_tokens": how.max_tokens,
        "samples": len(notebook),
        "targets": targets,
    }
    notebook.close(facts)
    return Made("lessons", teacher.name, path=run.workdir / "lessons", meta=facts)


def _ask(run: StageRun, model: Any, shown: Material, notebook: Any, params: LessonSettings) -> int:
    """Have all that is ``shown`` in the ``notebook``; how many targets there are."""
    from undercroft.train.objectives.distillation import lesson_of
    from undercroft.train.samples.lessons import key

    targets = 0
    for number, sample in enumerate(shown.samples):
        run.progress(number, len(shown.samples), "samples", "asking the teacher")
        batch = shown.goal.collate(sample)
        if batch is None:
            continue
        targets += batch.count
        name = key(batch.tensors)
        if name not in notebook:
            notebook.add(name, lesson_of(model, batch, params.top_k, params.temperature))
    if not targets:
        raise BadInput(
            "There is nothing that the teacher could be asked.",
            "Each example is longer than the tokens that are read at once.",
            "Raise distil.max_tokens, or give other examples.",
        )
    return targets


@stage("student", version=1, params=DistilSettings, code=_CODE, fingerprint=_title)
def student(
    run: StageRun,
    params: DistilSettings,
    *,
    base: Artifact,
    teacher: Artifact,
    lessons: Artifact,
    source: Artifact,
    **beside: Artifact,
) -> Made:
    """Train ``base`` on what ``teacher`` said in ``lessons`` about ``source``; goes on after a
    crash.

    ``beside`` is what else is trained on, by the names that ``params.beside`` gives it. Raises
    `BadInput` for a teacher with another tokenizer.
    """
    from undercroft.train.launch.training import trained
    from undercroft.train.models import lora

    check_text_model(base, "a student")
    same_tokens(run.project, base, teacher)
    path = run.project.path(base)
    demand_room(path, params, "distil", run.project.settings.cluster)
    build = partial(
        built,
        params=params,
        title=run.project.prompt,
        base=path,
        source=sourced(run, source, path, params, unanswerable=params.unanswerable),
        lessons=run.project.path(lessons),
        beside=sources_beside(run, beside, path, params),
    )
    inputs = [each.digest for each in (base, lessons, source, *beside.values())]
    parts = [params.model_dump(mode="json"), run.project.prompt.fingerprint, inputs]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    done = trained(run, Job.of(run, build, params, digest.hexdigest(), "distil"))
    out = run.workdir / "model"
    shutil.rmtree(out, ignore_errors=True)
    run.progress(done.schedule.step, done.schedule.step, "steps", "saving")
    lora.end(done.parts.model, done.parts.adapters, out / ADAPTER, str(base.ref))
    folders.save(done.parts.model, done.parts.tokenizer, out)
    return _made(run, out, params, done, (base, teacher, source))


def built(
    site: Site,
    *,
    params: DistilSettings,
    title: str | Template,
    base: Path,
    source: Source,
    lessons: Path,
    beside: Sequence[Source],
) -> Parts:
    """The student in the folder ``base``, and how it learns ``lessons`` about ``source``."""
    from undercroft.train import keeping
    from undercroft.train.models.starting import start
    from undercroft.train.objectives.distillation import Distillation
    from undercroft.train.samples.lessons import Lessons

    site.tell(0, None, "steps", "loading the student")
    model, tokenizer, adapters = start(base, params)
    told = Lessons(lessons)
    how = Reading.of(params, model, tokenizer, title)
    if how.max_tokens < told.facts["max_tokens"]:
        raise BadInput(
            "The student reads less at once than the teacher was shown.",
            f"Its context is {how.max_tokens:,} tokens; it was {told.facts['max_tokens']:,}.",
            f"Set distil.max_tokens to {how.max_tokens}, and the teacher is asked again.",
        )
    shown = material(source, replace(how, max_tokens=told.facts["max_tokens"]))
    kept, heldout = apart(shown.samples, params.heldout, params.seed, _origin)
    main = Material(Distillation(shown.goal, told, params.share), kept, heldout)
    whole = together(main, source.task, beside, how)
    goal = keeping.penalised(whole.goal, keeping.to_base(params, model, base))
    return Parts(model, tokenizer, goal, whole.samples, whole.heldout, adapters)


def _origin(sample: Sequence[Any]) -> str:
    """What samples have in common that must not be on both sides: an example's file, or a row."""
    first = sample[0]
    return str(first.group if hasattr(first, "group") else first[0].document)


def check_text_model(model: Artifact, role: str) -> None:
    """Raises `BadInput` for a model that is no folder of safetensors, or gives numbers."""
    form = model.meta.get("format")
    if form != "safetensors" or str(model.meta.get("architecture", "")).endswith("Classification"):
        why = f"Its format is {form}." if form != "safetensors" else "It is a reward model."
        raise BadInput(
            f"{model.ref} cannot be {role}.",
            f"{why} What is needed is a model of text, as safetensors.",
            "See the others with: undercroft ls model",
        )


def same_tokens(project: Project, base: Artifact, teacher: Artifact) -> str:
    """The digest of the tokens that both know; raises `BadInput` where they differ."""
    own, theirs = (_tokens(project.path(each)) for each in (base, teacher))
    if own != theirs:
        raise BadInput(
            f"{teacher.ref} cannot teach {base.ref}.",
            f"Their tokenizers differ: {len(theirs):,} tokens and {len(own):,}, or the same in "
            "another order. What a teacher says are probabilities of its own tokens.",
            "Choose a teacher and a student with one tokenizer, such as two models of one base.",
        )
    return hashlib.sha256(json.dumps(sorted(own.items())).encode()).hexdigest()


def _tokens(folder: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.exists():
        raise BadInput(f"{folder} has no {path.name}.", do="Bring the model in again.")
    known: dict[str, int] = Tokenizer.from_file(str(path)).get_vocab()
    return known


def _made(
    run: StageRun,
    out: Path,
    params: DistilSettings,
    done: Trained,
    made_from: tuple[Artifact, Artifact, Artifact],
) -> Made:
    """The artifact in ``out``, with its card and record."""
    base, teacher, source = made_from
    name = f"{run.project.name}-student"
    facts = done.facts | keep_refused(run, out)
    meta = {
        **folders.facts(out, str(base.meta.get("licence", "unknown"))),
        "base": base.meta.get("base", "unknown"),
        "teacher": str(teacher.ref),
        "objective": "distillation",
        "lora_rank": params.lora_rank,
        **facts,
    }
    text = student_card(name, base, teacher, source, params=params, meta=meta)
    (out / "README.md").write_text(text, encoding="utf-8")
    keep_record(out, params, facts, done.tally, of_samples(done.parts.samples))
    write_left_out(out, done.parts.samples, done.tally)
    return Made("model", name, path=out, meta=meta)
