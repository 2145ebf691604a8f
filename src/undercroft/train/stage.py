"""The stages ``base`` (a base model -> ``model:NAME-base``) and ``train`` (-> ``model:NAME``)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from undercroft.project import Project
from undercroft.records import Artifact, Example
from undercroft.retrieve.prompt import Template
from undercroft.settings import ModelSettings, TrainSettings
from undercroft.stage import Made, StageRun, stage
from undercroft.train.card import card
from undercroft.train.heldout import apart
from undercroft.train.launch.job import Job, Parts, Site
from undercroft.train.material import (
    Material,
    Reading,
    Source,
    sourced,
    sources_beside,
    together,
)
from undercroft.train.models import folders
from undercroft.train.objectives.objective import objective
from undercroft.train.reading import of_samples, write_left_out
from undercroft.train.recording import keep_record
from undercroft.train.refusals import keep_refused
from undercroft.train.room import demand_room
from undercroft.train.samples.data import packs

ADAPTER = "adapter"
"""The folder of a model trained with LoRA that holds its adapters alone, for PEFT."""


def _base_fingerprint(project: Project, params: ModelSettings) -> str:
    """What the base model is read from: names say little about a folder that may change."""
    path = project.root / Path(params.base).expanduser()
    if params.base.lower() == folders.WHEEL_MODEL:
        files = [folders.wheel_file()]
    elif path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
    else:
        files = [path] if path.is_file() else []
    return json.dumps([(file.name, file.stat().st_size, file.stat().st_mtime) for file in files])


@stage("base", version=1, params=ModelSettings, fingerprint=_base_fingerprint)
def base(run: StageRun, params: ModelSettings) -> Made:
    """Bring the model that training starts from into the project."""
    out = run.workdir / "base"
    shutil.rmtree(out, ignore_errors=True)
    meta = folders.fetch_base(
        params.base,
        run.project.root,
        out,
        lambda done, total: run.progress(done, total, "tensors", params.base),
    )
    return Made("model", f"{run.project.name}-base", path=out, meta=meta)


def _title(project: Project, params: TrainSettings) -> str:  # noqa: ARG001
    """The prompt names what the documents are about, so the model depends on it."""
    return project.prompt.fingerprint


@stage(
    "train",
    version=1,
    params=TrainSettings,
    code=("undercroft.retrieve.prompt",),
    fingerprint=_title,
)
def train(
    run: StageRun,
    params: TrainSettings,
    *,
    examples: Artifact,
    base: Artifact,
    earlier: Artifact | None = None,
    **beside: Artifact,
) -> Made:
    """Fine-tune ``base`` on ``examples`` for the minutes in ``params``; goes on after a crash.

    ``earlier`` are examples that an earlier model learnt from, which is not to be forgotten;
    ``beside`` is what else is trained on, by the names that ``params.beside`` gives it.
    """
    from undercroft.train import keeping
    from undercroft.train.launch.training import trained
    from undercroft.train.models import lora

    path = run.project.path(base)
    source = sourced(run, examples, path, params, unanswerable=params.unanswerable)
    build = partial(
        built,
        params=params,
        title=run.project.prompt,
        base=path,
        source=source,
        beside=sources_beside(run, beside, path, params),
        old=keeping.earlier_examples(run, params, earlier),
        folder=run.workdir,
    )
    found = source.examples
    inputs = (examples, base, earlier, *beside.values())
    demand_room(run.project.path(base), params, "train", run.project.settings.cluster)
    digest = _config_digest(params, run.project.prompt.fingerprint, *inputs)
    done = trained(run, Job.of(run, build, params, digest, "train"))
    out = run.workdir / "model"
    shutil.rmtree(out, ignore_errors=True)
    run.progress(done.schedule.step, done.schedule.step, "steps", "saving")
    lora.end(done.parts.model, done.parts.adapters, out / ADAPTER, str(base.ref))
    folders.save(done.parts.model, done.parts.tokenizer, out)
    name = run.project.name
    facts = done.facts | keep_refused(run, out)
    text = card(name, run.project.title, base.meta, found, params=params, training=facts)
    (out / "README.md").write_text(text, encoding="utf-8")
    keep_record(out, params, facts, done.tally, of_samples(done.parts.samples))
    write_left_out(out, done.parts.samples, done.tally)
    inherited = {key: base.meta.get(key) for key in ("base", "architecture", "licence")}
    meta = {**folders.facts(out, str(inherited["licence"])), **inherited, **facts}
    return Made("model", name, path=out, meta=meta)


def built(
    site: Site,
    *,
    params: TrainSettings,
    title: str | Template,
    base: Path,
    source: Source,
    beside: Sequence[Source],
    old: Sequence[Example],
    folder: Path,
) -> Parts:
    """The model in the folder ``base``, and how it is trained on ``source`` and what is beside."""
    from undercroft.train import keeping
    from undercroft.train.models.starting import start

    site.tell(0, None, "steps", "loading the base model")
    model, tokenizer, adapters = start(base, params)
    how = Reading.of(params, model, tokenizer, title)
    goal = objective(params.objective, tokenizer, title, how.max_tokens)
    kept, heldout = apart(
        packs(source.examples, params.micro_batch_size),
        params.heldout,
        params.seed,
        lambda pack: pack[0].group,
    )
    main = Material(goal, keeping.with_replay(kept, old, params), heldout)
    whole = together(main, source.task, beside, how)
    goal = keeping.held(
        site, params, whole.goal, main.goal, model=model, old=old, base=base, folder=folder
    )
    return Parts(model, tokenizer, goal, whole.samples, whole.heldout, adapters)


def _config_digest(params: TrainSettings, title: str, *inputs: Artifact | None) -> str:
    """What a checkpoint must have been made with to be gone on from."""
    parts = [params.model_dump(mode="json"), title, *(each and each.digest for each in inputs)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
