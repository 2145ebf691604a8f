"""The main job, top to bottom: from raw documents to a served assistant that cites its sources.

    collect -> curate -> distil, index -> annotate -> train -> compress -> evaluate -> release

Compression comes before evaluation because the gate judges what will be served: the quantised
model with the gateway's own prompt and sampling.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from undercroft.annotate.stage import examples
from undercroft.collect.stage import collect
from undercroft.compress.stage import compress
from undercroft.curate.stage import curate
from undercroft.evaluate.stage import evaluate
from undercroft.index.stage import distil, index
from undercroft.jobs import Runner, Watcher, carry_out
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.release.prompts import wanted
from undercroft.release.rollout import introduce
from undercroft.release.stage import release
from undercroft.stage import Stage
from undercroft.train.material import artifacts_beside
from undercroft.train.stage import base, train
from undercroft.versions import in_use

STAGES: tuple[Stage[Any], ...] = (
    collect, curate, distil, index, examples, base, train, compress, evaluate, release,
)  # fmt: skip
"""The stages of the main job in order; importing them also fills the registry for workers."""


@dataclass
class MainJob:
    """One pass over the main road, with what it made and how long each stage took."""

    project: Project
    runner: Runner
    watcher: Watcher
    made: dict[str, Artifact] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> Mapping[str, Artifact]:
        """Go the whole road; stages whose inputs and settings are unchanged cost nothing."""
        made = self.made
        (made["raw"],) = self._step(collect)
        (curated,) = self._step(curate, raw=made["raw"])
        made["dataset"] = in_use(self.project, curated)
        (made["embedding"],) = self._step(distil)
        (made["index"],) = self._step(index, dataset=made["dataset"], embedding=made["embedding"])
        made["examples"], made["suite"] = self._step(
            examples, dataset=made["dataset"], index=made["index"], embedding=made["embedding"]
        )
        made["base"] = self._base()
        (made["model"],) = self._step(
            train, examples=made["examples"], base=made["base"], **self._further()
        )
        made["served_base"] = self._served(self._step(compress, "base", model=made["base"]))
        made["served"] = self._served(self._step(compress, model=made["model"]))
        candidates = {
            "base": made["served_base"],
            "tuned": made["served"],
            "index": made["index"],
            "embedding": made["embedding"],
        }
        (made["scorecard"],) = self._step(evaluate, suite=made["suite"], **candidates)
        (made["route"],) = self._step(
            release, scorecard=made["scorecard"], prompt=wanted(self.project), **candidates
        )
        introduce(self.project, made["route"])
        return made

    def _step(
        self, stage: Stage[Any], which: str = "", /, **inputs: Artifact
    ) -> tuple[Artifact, ...]:
        """One stage of the road; ``which`` tells apart steps that are the same stage."""
        started = time.monotonic()
        outputs = carry_out(
            self.project,
            lambda: stage.plan(self.project, **inputs),
            self.runner,
            self.watcher,
            step=f"{stage.name} {which}".strip(),
            number=STAGES.index(stage) + 1,
        )
        seconds = time.monotonic() - started
        self.seconds[stage.name] = round(self.seconds.get(stage.name, 0.0) + seconds, 2)
        return outputs

    def _base(self) -> Artifact:
        """The model that training starts from: one of the project's own, or brought into it."""
        named = self.project.settings.model.base
        if named.startswith("model:"):
            return self.project.ledger.artifact(named)
        (found,) = self._step(base)
        return found

    def _further(self) -> dict[str, Artifact]:
        """Examples that the model is not to forget and what else it learns, as settings name it."""
        params = self.project.settings.train
        found = artifacts_beside(self.project, params, "train")
        if params.earlier:
            found["earlier"] = self.project.ledger.artifact(params.earlier)
        return found

    def _served(self, models: tuple[Artifact, ...]) -> Artifact:
        """The quantisation that is evaluated and served."""
        wanted = self.project.settings.compress.serve
        return next(model for model in models if model.meta["format"] == wanted)

    def summary(self) -> dict[str, Any]:
        """What the road made, in the shape that ``undercroft up --json`` prints."""
        made, ledger = self.made, self.project.ledger
        runs = [ledger.run_of(artifact) for artifact in made.values()]
        footprints = {run.id: run.footprint for run in runs}.values()
        measured = all(footprint.energy_is == "measured" for footprint in footprints)
        return {
            "documents": {
                "collected": made["raw"].meta["collected"],
                "rejected": made["raw"].meta["rejected"],
                "kept": made["dataset"].meta["kept"],
                "removed": made["dataset"].meta["removed"],
            },
            "dataset": str(made["dataset"].ref),
            "model": made["route"].meta["model"],
            "base_model": str(made["base"].ref),
            "evaluation": made["scorecard"].meta["evaluation"],
            "release": {
                "route": str(made["route"].ref),
                "released": made["route"].meta["released"],
                "reason": made["route"].meta["reason"],
            },
            "seconds": dict(self.seconds),
            "energy_wh": round(sum(footprint.energy_wh for footprint in footprints), 3),
            "energy_is": "measured" if measured else "estimated",
        }
