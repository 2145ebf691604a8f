"""What holds a fine-tuned model to what its base knew, as the settings ask for it.

``l2_to_base`` and ``kl_to_base`` need nothing but the base; ``replay`` and ``ewc`` need earlier
examples, those of a model that this one is to follow.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from undercroft.errors import BadConfig
from undercroft.records import Artifact, Example
from undercroft.settings import HoldSettings, TrainSettings, TuneSettings
from undercroft.stage import StageRun
from undercroft.train.launch.job import Site
from undercroft.train.models import folders
from undercroft.train.objectives import fisher
from undercroft.train.objectives.branches import answer_logits
from undercroft.train.objectives.objective import Batch, Objective
from undercroft.train.objectives.penalties import (
    KLToReference,
    Penalised,
    Penalty,
    Quadratic,
    consolidated,
    to_start,
)
from undercroft.train.refusals import examples_of
from undercroft.train.samples.data import packs
from undercroft.train.samples.mixture import replayed

#: Examples that weights' importance is measured on, one backward pass each.
MEASURED_ON = 64
_IMPORTANCE = "importance.safetensors"

Pack = tuple[Example, ...]


def earlier_examples(
    run: StageRun, params: TrainSettings, earlier: Artifact | None
) -> list[Example]:
    """The examples of ``earlier``; raises `BadConfig` when they are needed and not named."""
    if earlier is not None:
        return examples_of(run, earlier)
    for name in ("replay", "ewc"):
        if getattr(params, name):
            raise BadConfig(
                f"train.{name} is set, but no earlier examples are named.",
                "It keeps what a model learnt from them.",
                "Name them as train.earlier, such as examples:docs@1; see: undercroft ls examples",
            )
    return []


def with_replay(
    samples: Sequence[Pack], old: Sequence[Example], params: TrainSettings
) -> Sequence[Pack]:
    """``samples`` with the share of earlier ones that ``params`` ask for."""
    if not params.replay:
        return samples
    return replayed(samples, [packs(old, params.micro_batch_size)], params.replay, params.seed)


def held(
    site: Site,
    params: TrainSettings,
    goal: Objective[Any],
    chats: Objective[Any],
    *,
    model: Any,
    old: Sequence[Example],
    base: Path,
    folder: Path,
) -> Objective[Any]:
    """``goal`` with the penalties that ``params`` ask for; ``model`` is as training starts.

    It comes from the folder ``base``. What is measured of it is kept in ``folder``: how much its
    weights matter to the ``old`` examples, as ``chats`` reads them.
    """
    penalties = to_base(params, model, base)
    if params.ewc:
        path = site.once(
            folder / _IMPORTANCE,
            lambda half: _consolidated(site, params, chats, model, old).save(half),
        )
        penalties.append(Quadratic.load(path, model.device))
    return penalised(goal, penalties)


def to_base(params: HoldSettings, model: Any, base: Path) -> list[Penalty]:
    """The pulls to ``model`` as it is now, which comes from the folder ``base``.

    With adapters their base is asked what it would say; else it is loaded a second time.
    """
    penalties: list[Penalty] = []
    if params.l2_to_base:
        penalties.append(to_start(params.l2_to_base, model))
    if params.kl_to_base:
        reference = None
        if not (isinstance(params, TuneSettings) and params.lora_rank):
            reference, _ = folders.load(base, params.precision, device=params.device)
        penalties.append(KLToReference(params.kl_to_base, reference))
    return penalties


def penalised(goal: Objective[Any], penalties: Sequence[Penalty]) -> Objective[Any]:
    """``goal`` with ``penalties``, if there are any."""
    return Penalised(goal, penalties) if penalties else goal


def _consolidated(
    site: Site, params: TrainSettings, goal: Objective[Any], model: Any, old: Sequence[Example]
) -> Quadratic:
    """The pull of the weights that matter to ``old``."""
    draw = random.Random(f"{params.seed}:importance")  # noqa: S311 - a sample, not secrecy
    chosen = draw.sample(list(old), min(MEASURED_ON, len(old)))

    def batches() -> Iterator[Batch]:
        for number, example in enumerate(chosen):
            site.tell(number, len(chosen), "examples", "finding which weights matter to them")
            batch = goal.collate((example,))
            if batch is not None:
                yield batch

    found = fisher.diagonal(model, batches(), answer_logits, params.seed)
    return consolidated(params.ewc, model, found)
