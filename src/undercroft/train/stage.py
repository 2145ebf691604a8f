"""The stages ``base`` (a base model -> ``model:NAME-base``) and ``train`` (-> ``model:NAME``)."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.settings import ModelSettings, TrainSettings
from undercroft.stage import Made, StageRun, stage
from undercroft.train.card import card
from undercroft.train.models import folders
from undercroft.train.objectives.objective import objective
from undercroft.train.reading import of_examples
from undercroft.train.recording import facts_of, keep_record, watched
from undercroft.train.samples.data import packs, read_examples, thinned

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
    return project.title


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
) -> Made:
    """Fine-tune ``base`` on ``examples`` for the minutes in ``params``; goes on after a crash.

    ``earlier`` are examples that an earlier model learnt from, which is not to be forgotten.
    """
    from undercroft.train import keeping
    from undercroft.train.loop import Run
    from undercroft.train.models import lora

    run.progress(0, None, "steps", "loading the base model")
    found = read_examples(run.project.path(examples))
    found = thinned(found, params.unanswerable, params.seed)
    old = keeping.earlier_examples(run, params, earlier)
    model, tokenizer = folders.load(run.project.path(base), params.precision, params.max_tokens)
    shape = lora.begin(model, params)
    goal = objective(params.objective, tokenizer, run.project.title, params.max_tokens)
    goal = keeping.held(run, params, goal=goal, model=model, old=old, base=base)
    samples = keeping.with_replay(packs(found, params.micro_batch_size), old, params)
    training = Run(
        model,
        goal,
        samples,
        params,
        folder=run.workdir / "checkpoints",
        config_digest=_config_digest(params, run.project.title, examples, base, earlier),
        event=lambda kind, detail: run.event(kind, **detail),
    )
    started = time.monotonic()
    tally = watched(run, training, params)
    facts = facts_of(tally, training.schedule, time.monotonic() - started)
    out = run.workdir / "model"
    shutil.rmtree(out, ignore_errors=True)
    run.progress(training.schedule.step, training.schedule.step, "steps", "saving")
    lora.end(model, shape, out / ADAPTER, str(base.ref))
    folders.save(model, tokenizer, out)
    name = run.project.name
    text = card(name, run.project.title, base.meta, found, params=params, training=facts)
    (out / "README.md").write_text(text, encoding="utf-8")
    keep_record(out, params, facts, tally, of_examples(samples))
    inherited = {key: base.meta.get(key) for key in ("base", "architecture", "licence")}
    meta = {**folders.facts(out, str(inherited["licence"])), **inherited, **facts}
    return Made("model", name, path=out, meta=meta)


def _config_digest(params: TrainSettings, title: str, *inputs: Artifact | None) -> str:
    """What a checkpoint must have been made with to be gone on from."""
    parts = [params.model_dump(mode="json"), title, *(each and each.digest for each in inputs)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
