"""The stages ``base`` (a base model -> ``model:NAME-base``) and ``train`` (-> ``model:NAME``)."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.settings import ModelSettings, TrainSettings
from undercroft.stage import Made, StageRun, stage
from undercroft.train import models
from undercroft.train.card import card
from undercroft.train.data import packs, read_examples, thinned
from undercroft.train.objective import objective
from undercroft.train.tracking import Tracker

if TYPE_CHECKING:
    from undercroft.train.loop import Point, Run, Tally
    from undercroft.train.schedule import Schedule

ADAPTER = "adapter"
"""The folder of a model trained with LoRA that holds its adapters alone, for PEFT."""


def _base_fingerprint(project: Project, params: ModelSettings) -> str:
    """What the base model is read from: names say little about a folder that may change."""
    path = project.root / Path(params.base).expanduser()
    if params.base.lower() == models.WHEEL_MODEL:
        files = [models.wheel_file()]
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
    meta = models.fetch_base(
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
def train(run: StageRun, params: TrainSettings, *, examples: Artifact, base: Artifact) -> Made:
    """Fine-tune ``base`` on ``examples`` for the minutes in ``params``; goes on after a crash."""
    from undercroft.train import lora
    from undercroft.train.loop import Run

    run.progress(0, None, "steps", "loading the base model")
    found = read_examples(run.project.path(examples))
    found = thinned(found, params.unanswerable, params.seed)
    model, tokenizer = models.load(run.project.path(base), params.precision, params.max_tokens)
    shape = lora.begin(model, params)
    goal = objective(params.objective, tokenizer, run.project.title, params.max_tokens)
    training = Run(
        model,
        goal,
        packs(found, params.micro_batch_size),
        params,
        folder=run.workdir / "checkpoints",
        config_digest=_config_digest(params, run.project.title, examples, base),
        event=lambda kind, detail: run.event(kind, **detail),
    )
    started = time.monotonic()
    tally = _watched(run, training, params)
    facts = _facts(tally, training.schedule, time.monotonic() - started)
    out = run.workdir / "model"
    shutil.rmtree(out, ignore_errors=True)
    run.progress(training.schedule.step, training.schedule.step, "steps", "saving")
    lora.end(model, shape, out / ADAPTER, str(base.ref))
    models.save(model, tokenizer, out)
    name = run.project.name
    text = card(name, run.project.title, base.meta, found, params=params, training=facts)
    (out / "README.md").write_text(text, encoding="utf-8")
    record = {"params": params.model_dump(mode="json"), **facts, "losses": tally.losses}
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    inherited = {key: base.meta.get(key) for key in ("base", "architecture", "licence")}
    meta = {**models.facts(out, str(inherited["licence"])), **inherited, **facts}
    return Made("model", name, path=out, meta=meta)


def _config_digest(params: TrainSettings, title: str, examples: Artifact, base: Artifact) -> str:
    """What a checkpoint must have been made with to be gone on from."""
    parts = [params.model_dump(mode="json"), title, examples.digest, base.digest]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _watched(run: StageRun, training: Run[Any], params: TrainSettings) -> Tally:
    """Train, telling progress, the run's events and MLflow of every step."""
    uri = params.mlflow or f"sqlite:///{run.project.state / 'mlflow.db'}"
    log = run.project.state / "logs" / "mlflow.log"
    tracker = Tracker(uri, run.project.name, f"train-{run.id}", log)
    tracker.params(params.model_dump(mode="json"))

    def report(point: Point, schedule: Schedule) -> None:
        measured: Mapping[str, Any] = asdict(point)
        run.event("metric", **{key: _rounded(value) for key, value in measured.items()})
        tracker.metrics(point.step, {k: float(v) for k, v in measured.items() if k != "step"})
        run.progress(
            point.step,
            schedule.num_steps,
            "steps",
            f"loss {point.loss:.3f}, {point.tokens_per_s:,.0f} tokens/s, "
            f"{schedule.seconds_left:.0f} s left",
        )

    try:
        tally = training.train(report)
    except BaseException:
        tracker.close(wait_s=0)
        raise
    if not tracker.close():
        run.event("tracking_failed", log=str(log))
    return tally


def _rounded(value: float) -> float:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _facts(tally: Tally, schedule: Schedule, seconds: float) -> dict[str, Any]:
    tenth = max(1, len(tally.losses) // 10)
    first, last = tally.losses[:tenth], tally.losses[-tenth:]
    return {
        "steps": schedule.step,
        "examples": tally.examples,
        "tokens": tally.tokens,
        "targets": tally.targets,
        "skipped_steps": tally.skipped,
        "left_out": tally.left_out,
        "seconds": round(max(seconds, schedule.elapsed_s), 2),
        "tokens_per_s": round(tally.tokens / max(schedule.elapsed_s, 1e-9), 1),
        "first_loss": round(sum(first) / max(1, len(first)), 4),
        "last_loss": round(sum(last) / max(1, len(last)), 4),
    }
