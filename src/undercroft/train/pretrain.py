"""The stage ``pretrain``: a dataset -> a tokenizer and a model, ``model:NAME-pretrained``."""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undercroft.errors import BadConfig, BadInput
from undercroft.project import Project
from undercroft.records import Artifact
from undercroft.settings import PretrainSettings
from undercroft.stage import Made, StageRun, stage
from undercroft.train.card import pretrained_card
from undercroft.train.heldout import apart
from undercroft.train.launch.job import Job, Parts, Site
from undercroft.train.models import folders, scratch
from undercroft.train.models.memory import Estimate
from undercroft.train.objectives.objective import objective
from undercroft.train.parallel.plan import Plan, is_cut
from undercroft.train.reading import of_samples
from undercroft.train.recording import keep_record
from undercroft.train.room import free_for
from undercroft.train.samples import corpus, tokenizing
from undercroft.train.samples.packing import Packed, pack

if TYPE_CHECKING:
    from undercroft.train.launch.training import Trained


def foresee(
    params: PretrainSettings, free_bytes: int | None = None, *, is_one_machine: bool = True
) -> Estimate:
    """Parameters and memory of what ``params`` ask for, before anything is read or allocated.

    The estimate is of one process; all share the memory of one machine, unless they have several,
    or each has a device of its own.
    Raises `BadConfig` for a shape that is none, and `BadInput` saying what would fit in
    ``free_bytes`` (default: what is free here).
    """
    shape = scratch.shape_of(params, params.vocabulary or tokenizing.MOST_BY_ITSELF)
    free, on_device = free_for(params.device)
    free = free if free_bytes is None else free_bytes
    many = Plan.of(params.parallel, "pretrain").size if is_one_machine else 1
    try:
        return scratch.check_memory(
            shape,
            params.precision,
            params.micro_batch_size,
            free if on_device else free // many,
            params.parallel,
            optimizer=params.optimizer,
        )
    except BadInput as error:
        if many == 1 or on_device:
            raise
        raise BadInput(
            error.what,
            f"So much is left for each of {many} processes. {error.why}",
            f"{error.do} Or set pretrain.parallel.processes to fewer.",
        ) from None


@stage("pretrain", version=1, params=PretrainSettings)
def pretrain(
    run: StageRun, params: PretrainSettings, *, dataset: Artifact, base: Artifact | None = None
) -> Made:
    """Train a model on ``dataset``, from random weights or from ``base``; goes on after a crash.

    With a base, its shape and tokenizer are the model's.
    """
    from undercroft.train.launch.training import trained

    if base is None:
        _demand_base(params)
        foresee(params, is_one_machine=run.project.settings.cluster.engine == "native")
    path = run.project.path(base) if base else None
    folder = run.workdir / "corpus"
    corpus.prepare(
        run.project,
        dataset,
        folder,
        vocabulary=params.vocabulary,
        context=params.context,
        tokenizer=path,
        tell=lambda done, total, what: run.progress(done, total, "documents", what),
    )
    build = partial(built, params=params, title=run.project.title, folder=folder, base=path)
    digest = _config_digest(params, dataset, base)
    done = trained(run, Job.of(run, build, params, digest, "pretrain"))
    packed, positions = done.parts.samples, done.tally.positions
    epochs = round(positions[-1] / len(packed), 3) if positions else 0.0
    run.progress(done.schedule.step, done.schedule.step, "steps", "saving")
    return _saved(run, params, done, {**done.facts, "epochs": epochs}, (dataset, base))


def _demand_base(params: PretrainSettings) -> None:
    """Raises `BadConfig` for settings that only mean something with a base."""
    named = next((name for name in ("l2_to_base", "kl_to_base") if getattr(params, name)), None)
    if named or params.base:
        raise BadConfig(
            f"pretrain.{named or 'base'} is set, but the model starts from random weights.",
            "There is no base that it could be held to, or it was not given to the stage.",
            "Name one as pretrain.base, such as model:docs-pretrained.",
        )


def built(
    site: Site, *, params: PretrainSettings, title: str, folder: Path, base: Path | None = None
) -> Parts:
    """A model with its first weights, and how it is trained on the corpus in ``folder``."""
    from undercroft.train import keeping

    site.tell(0, None, "steps", "making the model")
    read, own, tokenizer = corpus.read(folder)
    model = _first(params, own) if base is None else _gone_on(params, base, tokenizer)
    context = min(params.context, int(model.config.max_position_embeddings))
    documents = range(len(read.documents))
    kept, held = apart(documents, params.heldout, params.seed, lambda document: document)
    packed, heldout = (
        pack(read, context, params.micro_batch_size, params.seed, part) for part in (kept, held)
    )
    goal = objective("next_token", tokenizer, title, context, reads="documents")
    if base is not None:
        goal = keeping.penalised(goal, keeping.to_base(params, model, base))
    return Parts(model, tokenizer, goal, packed, heldout)


def _gone_on(params: PretrainSettings, base: Path, tokenizer: Any) -> Any:
    """The model in the folder ``base``, looked at."""
    from undercroft.train.models.starting import demand_finite, demand_fitting

    if is_cut(params.parallel):
        model, _ = folders.load_absent(base, params.precision, params.context)
    else:
        model, _ = folders.load(base, params.precision, params.context, params.device)
    demand_finite(dict(model.named_parameters()))
    demand_fitting(model, tokenizer)
    return model


def _first(params: PretrainSettings, own: Any) -> Any:
    """A model with random weights for the tokenizer ``own``."""
    shape = scratch.shape_of(params, own.get_vocab_size())
    special = tokenizing.special_ids(own)
    device = scratch.ABSENT if is_cut(params.parallel) else params.device
    model = scratch.build(shape, params.precision, params.seed, special, device)
    ends = [own.token_to_id(tokenizing.END_OF_TURN), own.token_to_id(tokenizing.DOCUMENT)]
    model.generation_config.eos_token_id = ends
    return model


def _saved(
    run: StageRun,
    params: PretrainSettings,
    done: Trained,
    facts: dict[str, Any],
    made_from: tuple[Artifact, Artifact | None],
) -> Made:
    dataset, base = made_from
    packed, tokenizer = done.parts.samples, done.parts.tokenizer
    config = done.parts.model.config
    assert isinstance(packed, Packed)
    out = run.workdir / "model"
    shutil.rmtree(out, ignore_errors=True)
    folders.save(done.parts.model, tokenizer, out)
    meta = {
        **folders.facts(out, _licence(run.project, dataset, base)),
        "base": "random weights" if base is None else str(base.ref),
        "vocabulary": len(tokenizer),
        "context": min(params.context, config.max_position_embeddings),
        "width": config.hidden_size,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "documents": packed.num_documents,
        **facts,
    }
    keep_record(out, params, facts, done.tally, of_samples(packed))
    name = f"{run.project.name}-pretrained"
    text = pretrained_card(name, str(dataset.ref), params=params, model=meta, training=facts)
    (out / "README.md").write_text(text, encoding="utf-8")
    return Made("model", name, path=out, meta=meta)


def _licence(project: Project, dataset: Artifact, base: Artifact | None) -> str:
    """The licence of all documents and the base if they share one, else ``other``; ``unknown`` if
    none says."""
    from undercroft.lake import read_dataset

    found = set(read_dataset(project.lake, dataset, ["licence"])["licence"].to_pylist())
    if base is not None:
        found.add(base.meta.get("licence"))
    known = {each for each in found if each and each != "unknown"}
    if not known:
        return "unknown"
    return known.pop() if len(found) == 1 else "other"


def _config_digest(params: PretrainSettings, *inputs: Artifact | None) -> str:
    """What a checkpoint must have been made with to be gone on from."""
    parts = [params.model_dump(mode="json"), *(each.digest for each in inputs if each)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
