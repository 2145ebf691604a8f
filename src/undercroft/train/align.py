"""The stage ``align``: a model and pairs of answers -> a model that prefers what was chosen.

With the objective ``reward`` it is a model that says by a number how good an answer is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from undercroft.errors import BadInput
from undercroft.lake.preferences import read_preferences
from undercroft.records import Artifact
from undercroft.settings import AlignSettings
from undercroft.stage import Made, StageRun, stage
from undercroft.train.align_card import aligned_card
from undercroft.train.models import folders
from undercroft.train.recording import facts_of, watched
from undercroft.train.soundness import MOST_PROMPTS, Soundness, demand_sound, listen
from undercroft.train.stage import ADAPTER

if TYPE_CHECKING:
    from undercroft.train.objectives.preference import Pair, Reference

_SCORER: Final = "ForSequenceClassification"  # how architectures end that give numbers
_REFERENCE_FILE: Final = "reference.json"


@stage("align", version=1, params=AlignSettings, code=("undercroft.lake.preferences",))
def align(run: StageRun, params: AlignSettings, *, model: Artifact, preferences: Artifact) -> Made:
    """Train ``model`` on ``preferences`` for the minutes in ``params``; goes on after a crash.

    Raises `BadInput` for a model that cannot be trained so and when no pair is short enough, and
    `StageFailed` when what comes of it is worse at talking than its parent.
    """
    from undercroft.train.loop import Run
    from undercroft.train.models import lora
    from undercroft.train.objectives import preference as goals

    is_reward = params.objective == "reward"
    _check_parent(model, is_reward)
    run.progress(0, None, "steps", "loading the model")
    load = folders.load_scorer if is_reward else folders.load
    weights, tokenizer = load(run.project.path(model), params.precision, params.max_tokens)
    pairs, held = _pairs(run, params, preferences, (weights, tokenizer))
    groups = goals.grouped(pairs, params.micro_batch_size, params.max_tokens)
    before = None if is_reward else _heard(run, "parent", weights, tokenizer, pairs)
    shape = lora.begin(weights, params)
    if is_reward:
        goal: goals.WorthMore | goals.Likelier = goals.WorthMore()
    else:
        reference = goals.FrozenBase() if shape else _reference(run, weights, groups)
        goal = goals.Likelier(params.objective, params.beta, reference, params.nll)
    training = Run(
        weights,
        goal,
        groups,
        params,
        folder=run.workdir / "checkpoints",
        config_digest=_config_digest(params, model, preferences),
        event=lambda kind, detail: run.event(kind, **detail),
        section="align",
    )
    started = time.monotonic()
    tally = watched(run, training, params)
    facts = facts_of(tally, training.schedule, time.monotonic() - started) | held
    if before is not None:
        after = _heard(run, "model", weights, tokenizer, pairs)
        facts |= {"parent_sound": before.as_dict(), "sound": after.as_dict()}
        demand_sound(before, after, params.max_perplexity_ratio)
    run.progress(training.schedule.step, training.schedule.step, "steps", "saving")
    out = run.workdir / "model"
    shutil.rmtree(out, ignore_errors=True)
    lora.end(weights, shape, out / ADAPTER, str(model.ref))
    folders.save(weights, tokenizer, out)
    record = {"params": params.model_dump(mode="json"), **facts, "losses": tally.losses}
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
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


def _pairs(
    run: StageRun, params: AlignSettings, preferences: Artifact, loaded: tuple[Any, Any]
) -> tuple[list[Pair], dict[str, int]]:
    """The pairs that are short enough, and how many there are of each fate."""
    from undercroft.train.objectives.preference import encode

    model, tokenizer = loaded
    found, gone = read_preferences(run.project.path(preferences), run.project.trust.vault)
    context = int(getattr(model.config, "max_position_embeddings", params.max_tokens))
    most = min(params.max_tokens, context)
    pairs, too_long = encode(tokenizer, found, most)
    if too_long:
        run.event("too_long", pairs=too_long, max_tokens=most)
    if not pairs:
        raise BadInput(
            f"No pair of {preferences.ref} can be trained on.",
            f"{len(too_long):,} are longer than {most:,} tokens, and of {gone:,} the key was "
            "destroyed.",
            f"Raise align.max_tokens (the model's context is {context:,}), or give other pairs.",
        )
    return pairs, {"pairs": len(pairs), "too_long": len(too_long), "gone": gone}


def _heard(run: StageRun, who: str, model: Any, tokenizer: Any, pairs: Sequence[Pair]) -> Soundness:
    """How ``model`` goes on from plain text, and answers some of the prompts."""
    run.progress(0, None, "answers", f"listening to the {who}")
    step = -(-len(pairs) // MOST_PROMPTS)
    found = listen(model, tokenizer, [pair.chosen[0] for pair in pairs[::step]])
    run.event("heard", who=who, **found.as_dict())
    return found


def _reference(run: StageRun, model: Any, groups: Sequence[tuple[Pair, ...]]) -> Reference:
    """What the parent gives every pair: computed once, and kept for the attempts that follow."""
    import torch

    from undercroft.train.objectives.preference import collated, log_probs, stored

    path = run.workdir / _REFERENCE_FILE
    if path.exists():
        return stored(json.loads(path.read_text(encoding="utf-8")))
    found: dict[str, list[float]] = {}
    model.eval()
    with torch.no_grad():
        for number, group in enumerate(groups):
            run.progress(number, len(groups), "groups of pairs", "reading them as the parent does")
            batch = collated(group)
            found.update(zip(batch.ids, log_probs(model, batch).tolist(), strict=True))
    half = path.with_suffix(".half")
    half.write_text(json.dumps(found), encoding="utf-8")
    half.rename(path)
    return stored(found)


def _config_digest(params: AlignSettings, model: Artifact, preferences: Artifact) -> str:
    """What a checkpoint must have been made with to be gone on from."""
    parts = [params.model_dump(mode="json"), model.digest, preferences.digest]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
