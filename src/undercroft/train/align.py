"""The stage ``align``: a model and pairs of answers -> a model that prefers what was chosen.

With the objective ``reward`` it is a model that says by a number how good an answer is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from undercroft.errors import BadConfig, BadInput
from undercroft.lake.preferences import read_preferences
from undercroft.project import Project
from undercroft.records import Artifact, Preference
from undercroft.retrieve.prompt import Template
from undercroft.settings import AlignSettings
from undercroft.stage import Made, StageRun, stage
from undercroft.train.align_card import aligned_card
from undercroft.train.heldout import apart
from undercroft.train.launch.job import InStage, Job, Parts, Site
from undercroft.train.material import Material, Reading, Source, sources_beside, together
from undercroft.train.models import folders
from undercroft.train.reading import of_samples
from undercroft.train.recording import keep_record
from undercroft.train.refusals import keep_refused, refuse
from undercroft.train.room import demand_room
from undercroft.train.samples.mixture import content_of
from undercroft.train.soundness import MOST_PROMPTS, Soundness, demand_sound, listen
from undercroft.train.stage import ADAPTER

if TYPE_CHECKING:
    from undercroft.train.objectives.preference import Pair, Reference

_SCORER: Final = "ForSequenceClassification"  # how architectures end that give numbers
_REFERENCE_FILE: Final = "reference.json"
_PARENT_FILE: Final = "parent-sound.json"


def _title(project: Project, params: AlignSettings) -> str:
    """Examples that are learnt beside the pairs are asked for with the title of the documents."""
    return project.prompt.fingerprint if params.beside else ""


@stage(
    "align",
    version=1,
    params=AlignSettings,
    code=("undercroft.lake.preferences", "undercroft.retrieve.prompt"),
    fingerprint=_title,
)
def align(
    run: StageRun,
    params: AlignSettings,
    *,
    model: Artifact,
    preferences: Artifact,
    **beside: Artifact,
) -> Made:
    """Train ``model`` on ``preferences`` for the minutes in ``params``; goes on after a crash.

    ``beside`` is what else is trained on, by the names that ``params.beside`` gives it.
    Raises `BadInput` for a model that cannot be trained so and when no pair is short enough, and
    `StageFailed` when what comes of it is worse at talking than its parent.
    """
    from undercroft.train.launch.training import trained
    from undercroft.train.models import lora

    is_reward = params.objective == "reward"
    _check_parent(model, is_reward)
    read = read_preferences(run.project.path(preferences), run.project.trust.vault)
    refuse(run, preferences, read.refused)
    found = read.found
    parent = run.project.path(model)
    build = partial(
        built,
        params=params,
        title=run.project.prompt,
        parent=parent,
        found=found,
        beside=sources_beside(run, beside, parent, params),
        folder=run.workdir,
    )
    demand_room(parent, params, "align", run.project.settings.cluster)
    digest = _config_digest(params, model, preferences, *beside.values())
    done = trained(run, Job.of(run, build, params, digest, "align"))
    parts = done.parts
    pairs = _pairs_of(parts)
    counts = {"pairs": len(pairs), "too_long": len(found) - len(pairs), "gone": read.gone}
    facts = done.facts | counts
    if not is_reward:
        before = Soundness(**json.loads((run.workdir / _PARENT_FILE).read_text(encoding="utf-8")))
        after = _heard(InStage(run), "model", parts.model, parts.tokenizer, pairs)
        facts |= {"parent_sound": before.as_dict(), "sound": after.as_dict()}
        demand_sound(before, after, params.max_perplexity_ratio)
    run.progress(done.schedule.step, done.schedule.step, "steps", "saving")
    out = run.workdir / "model"
    shutil.rmtree(out, ignore_errors=True)
    lora.end(parts.model, parts.adapters, out / ADAPTER, str(model.ref))
    folders.save(parts.model, parts.tokenizer, out)
    facts |= keep_refused(run, out)
    keep_record(out, params, facts, done.tally, of_samples(parts.samples))
    return _made(out, params, model, preferences, facts)


def _made(
    out: Path,
    params: AlignSettings,
    parent: Artifact,
    preferences: Artifact,
    facts: dict[str, Any],
) -> Made:
    """The artifact in ``out``, with its card."""
    ending = "-reward" if params.objective == "reward" else "-aligned"
    name = parent.name.removesuffix(ending) + ending
    meta = {
        **folders.facts(out, str(parent.meta.get("licence", "unknown"))),
        "base": parent.meta.get("base", "unknown"),
        "objective": params.objective,
        "lora_rank": params.lora_rank,
        **facts,
    }
    text = aligned_card(name, str(parent.ref), str(preferences.ref), params=params, meta=meta)
    (out / "README.md").write_text(text, encoding="utf-8")
    return Made("model", name, path=out, meta=meta)


def _check_parent(model: Artifact, is_reward: bool) -> None:
    form = model.meta.get("format")
    if form != "safetensors":
        raise BadInput(
            f"{model.ref} cannot be trained.",
            f"Its format is {form}; training goes on from safetensors.",
            "See the others with: undercroft ls model",
        )
    if not is_reward and str(model.meta.get("architecture", "")).endswith(_SCORER):
        raise BadInput(
            f"{model.ref} gives numbers, not text.",
            "It is a reward model.",
            "Align the model that it was made from.",
        )


def built(
    site: Site,
    *,
    params: AlignSettings,
    title: str | Template,
    parent: Path,
    found: Sequence[Preference],
    beside: Sequence[Source],
    folder: Path,
) -> Parts:
    """The model in the folder ``parent``, and how it is trained on the pairs that are ``found``."""
    from undercroft.train import keeping
    from undercroft.train.models.starting import start
    from undercroft.train.objectives import preference as goals

    is_reward = params.objective == "reward"
    if is_reward and (params.beside or params.kl_to_base):
        raise BadConfig(
            "A reward model says nothing.",
            "It can neither be held to what another would say nor learn to say it.",
            "Set align.kl_to_base to 0 and leave align.beside empty.",
        )
    site.tell(0, None, "steps", "loading the model")
    model, tokenizer, adapters = start(parent, params)
    pairs = _pairs(site, params, found, model, tokenizer)
    parts = apart(pairs, params.heldout, params.seed, lambda pair: tuple(pair.chosen[0]))
    groups, heldout = (
        goals.grouped(part, params.micro_batch_size, params.max_tokens) for part in parts
    )
    if not is_reward:
        site.once(
            folder / _PARENT_FILE,
            lambda half: _write(half, asdict(_heard(site, "parent", model, tokenizer, pairs))),
        )
    if is_reward:
        goal: goals.WorthMore | goals.Likelier = goals.WorthMore()
    else:
        reference = (
            goals.FrozenBase() if adapters else _reference(site, folder, model, [*groups, *heldout])
        )
        goal = goals.Likelier(params.objective, params.beta, reference, params.nll)
    how = Reading.of(params, model, tokenizer, title)
    whole = together(Material(goal, groups, heldout), "preferences", beside, how)
    held = keeping.penalised(whole.goal, keeping.to_base(params, model, parent))
    return Parts(model, tokenizer, held, whole.samples, whole.heldout, adapters)


def _pairs_of(parts: Parts) -> list[Pair]:
    """The pairs that are read or measured on, each once."""
    from undercroft.train.objectives.preference import Pair

    read = (part for sample in (*parts.samples, *parts.heldout) for part in content_of(sample))
    return list({part.id: part for part in read if isinstance(part, Pair)}.values())


def _pairs(
    site: Site, params: AlignSettings, found: Sequence[Preference], model: Any, tokenizer: Any
) -> list[Pair]:
    """The pairs that are short enough."""
    from undercroft.train.objectives.preference import encode

    context = int(getattr(model.config, "max_position_embeddings", params.max_tokens))
    most = min(params.max_tokens, context)
    pairs, too_long = encode(tokenizer, found, most)
    if too_long:
        site.event("too_long", {"pairs": too_long, "max_tokens": most})
    if not pairs:
        raise BadInput(
            "None of the pairs can be trained on.",
            f"{len(too_long):,} are longer than {most:,} tokens; those whose key was destroyed "
            "are not there any more.",
            f"Raise align.max_tokens (the model's context is {context:,}), or give other pairs.",
        )
    return pairs


def _heard(site: Site, who: str, model: Any, tokenizer: Any, pairs: Sequence[Pair]) -> Soundness:
    """How ``model`` goes on from plain text, and answers some of the prompts."""
    site.tell(0, None, "answers", f"listening to the {who}")
    step = -(-len(pairs) // MOST_PROMPTS)
    found = listen(model, tokenizer, [pair.chosen[0] for pair in pairs[::step]])
    site.event("heard", {"who": who, **found.as_dict()})
    return found


def _reference(
    site: Site, folder: Path, model: Any, groups: Sequence[tuple[Pair, ...]]
) -> Reference:
    """What the parent gives every pair: computed once, and kept for the attempts that follow."""
    import torch

    from undercroft.train.objectives.preference import collated, log_probs, stored

    def compute(half: Path) -> None:
        found: dict[str, list[float]] = {}
        model.eval()
        with torch.no_grad():
            for number, group in enumerate(groups):
                site.tell(number, len(groups), "groups of pairs", "reading them as the parent does")
                batch = collated(group).to(model.device)
                found.update(zip(batch.ids, log_probs(model, batch).tolist(), strict=True))
        _write(half, found)

    path = site.once(folder / _REFERENCE_FILE, compute)
    return stored(json.loads(path.read_text(encoding="utf-8")))


def _write(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record), encoding="utf-8")


def _config_digest(params: AlignSettings, *inputs: Artifact) -> str:
    """What a checkpoint must have been made with to be gone on from."""
    parts = [params.model_dump(mode="json"), *(each.digest for each in inputs)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
