"""The stage ``pretrain``: a dataset -> a tokenizer and a model, ``model:NAME-pretrained``."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undercroft.errors import BadInput
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.settings import PretrainSettings
from undercroft.stage import Made, StageRun, stage
from undercroft.train.card import pretrained_card
from undercroft.train.heldout import apart
from undercroft.train.launch.job import Job, Parts, Site
from undercroft.train.models import folders, scratch
from undercroft.train.objectives.objective import objective
from undercroft.train.parallel.plan import Plan
from undercroft.train.reading import Read
from undercroft.train.recording import keep_record
from undercroft.train.samples import corpus, tokenizing
from undercroft.train.samples.packing import Packed, pack

if TYPE_CHECKING:
    from undercroft.train.launch.training import Trained

_CGROUP = Path("/sys/fs/cgroup")


def foresee(
    params: PretrainSettings, free_bytes: int | None = None, *, is_one_machine: bool = True
) -> scratch.Estimate:
    """Parameters and memory of what ``params`` ask for, before anything is read or allocated.

    Copies of the model share the memory of one machine, unless each has one of its own.
    Raises `BadConfig` for a shape that is none, and `BadInput` saying what would fit in
    ``free_bytes`` (default: what is free here).
    """
    shape = scratch.shape_of(params, params.vocabulary or tokenizing.MOST_BY_ITSELF)
    free = free_memory() if free_bytes is None else free_bytes
    copies = Plan.of(params.parallel, "pretrain").replicate if is_one_machine else 1
    try:
        return scratch.check_memory(
            shape, params.precision, params.micro_batch_size, free // copies
        )
    except BadInput as error:
        if copies == 1:
            raise
        raise BadInput(
            error.what,
            f"So much is left for each of {copies} copies of the model. {error.why}",
            f"{error.do} Or set pretrain.parallel.processes to fewer.",
        ) from None


def free_memory() -> int:
    """Bytes that a new process may take: what the machine has free, or what its group may have."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        most = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, int(most) - used) if most.isdigit() else free


@stage("pretrain", version=1, params=PretrainSettings)
def pretrain(run: StageRun, params: PretrainSettings, *, dataset: Artifact) -> Made:
    """Train a model from random weights on ``dataset``; goes on after a crash."""
    from undercroft.train.launch.training import trained

    foresee(params, is_one_machine=run.project.settings.cluster.engine == "native")
    folder = run.workdir / "corpus"
    corpus.prepare(
        run.project,
        dataset,
        folder,
        vocabulary=params.vocabulary,
        context=params.context,
        tell=lambda done, total, what: run.progress(done, total, "documents", what),
    )
    build = partial(built, params=params, title=run.project.title, folder=folder)
    done = trained(run, Job.of(run, build, params, _config_digest(params, dataset), "pretrain"))
    packed, positions = done.parts.samples, done.tally.positions
    epochs = round(positions[-1] / len(packed), 3) if positions else 0.0
    run.progress(done.schedule.step, done.schedule.step, "steps", "saving")
    return _saved(run, params, dataset, done, {**done.facts, "epochs": epochs})


def built(site: Site, *, params: PretrainSettings, title: str, folder: Path) -> Parts:
    """A model with its first weights, and how it is trained on the corpus in ``folder``."""
    site.tell(0, None, "steps", "making the model")
    read, own, tokenizer = corpus.read(folder)
    documents = range(len(read.documents))
    kept, held = apart(documents, params.heldout, params.seed, lambda document: document)
    packed, heldout = (
        pack(read, params.context, params.micro_batch_size, params.seed, part)
        for part in (kept, held)
    )
    shape = scratch.shape_of(params, own.get_vocab_size())
    model = scratch.build(shape, params.precision, params.seed, tokenizing.special_ids(own))
    ends = [own.token_to_id(tokenizing.END_OF_TURN), own.token_to_id(tokenizing.DOCUMENT)]
    model.generation_config.eos_token_id = ends
    goal = objective("next_token", tokenizer, title, params.context, reads="documents")
    return Parts(model, tokenizer, goal, packed, heldout)


def _saved(
    run: StageRun,
    params: PretrainSettings,
    dataset: Artifact,
    done: Trained,
    facts: dict[str, Any],
) -> Made:
    packed, tokenizer = done.parts.samples, done.parts.tokenizer
    assert isinstance(packed, Packed)
    out = run.workdir / "model"
    shutil.rmtree(out, ignore_errors=True)
    folders.save(done.parts.model, tokenizer, out)
    meta = {
        **folders.facts(out, _licence(run.project, dataset)),
        "base": "random weights",
        "vocabulary": len(tokenizer),
        "context": params.context,
        "documents": packed.num_documents,
        **facts,
    }
    keep_record(out, params, facts, done.tally, _held(packed))
    name = f"{run.project.name}-pretrained"
    text = pretrained_card(
        name, str(dataset.ref), meta["documents"], params=params, model=meta, training=facts
    )
    (out / "README.md").write_text(text, encoding="utf-8")
    return Made("model", name, path=out, meta=meta)


def _held(packed: Packed) -> Iterator[list[Read]]:
    """The documents in each sample."""
    for sample in packed:
        yield [Read(span.document, span.document) for row in sample for span in row]


def _licence(project: Project, dataset: Artifact) -> str:
    """The licence of all documents if they share one, else ``other``; ``unknown`` if none says."""
    from undercroft.lake import read_dataset

    found = set(read_dataset(project.lake, dataset, ["licence"])["licence"].to_pylist())
    known = {each for each in found if each and each != "unknown"}
    if not known:
        return "unknown"
    return known.pop() if len(found) == 1 else "other"


def _config_digest(params: PretrainSettings, dataset: Artifact) -> str:
    """What a checkpoint must have been made with to be gone on from."""
    parts = [params.model_dump(mode="json"), dataset.digest]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
