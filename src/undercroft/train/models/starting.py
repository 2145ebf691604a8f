"""The model that a training starts from: loaded as the settings ask, and looked at before.

What is wrong with a model would otherwise show itself as a loss that is not a number, an index out
of range in the middle of a step, or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from undercroft.errors import BadConfig, BadInput
from undercroft.settings import AlignSettings, TuneSettings
from undercroft.train.models import folders, lora, quantised
from undercroft.train.parallel.plan import is_cut

_ASKED, _ANSWERED, _TOLD = "Zebra?", "Giraffe.", "Be brief."
_CHAT: Final = (
    {"role": "system", "content": _TOLD},
    {"role": "user", "content": _ASKED},
)
_BRING: Final = "Bring the model in again, or name another as model.base."


def start(folder: Path, params: TuneSettings) -> tuple[Any, Any, lora.Lora | None]:
    """The model in ``folder`` with adapters if ``params`` ask for them, its tokenizer, and the
    adapters' shape.

    Raises `BadConfig` for settings that do not go together, and `BadInput` as `demand_sound`.
    """
    is_scorer = isinstance(params, AlignSettings) and params.objective == "reward"
    _demand_sense(params, is_scorer)
    if is_cut(params.parallel) and not _computes_first(params):
        model, tokenizer = folders.load_absent(folder, params.precision, params.max_tokens)
    else:
        if params.lora_bits:
            load = quantised.load
        else:
            load = folders.load_scorer if is_scorer else folders.load
        model, tokenizer = load(folder, params.precision, params.max_tokens, params.device)
    demand_sound(model, tokenizer)
    return model, tokenizer, lora.begin(model, params)


def _computes_first(params: TuneSettings) -> bool:
    """Whether something is asked of the model before it is cut, for which it must be whole."""
    return isinstance(params, AlignSettings) or bool(getattr(params, "ewc", 0.0))


def demand_sound(model: nn.Module, tokenizer: Any) -> None:
    """Raises `BadInput` for weights that are not numbers, and for a tokenizer that is not the
    model's or cannot write a chat."""
    demand_finite(dict(model.named_parameters()))
    demand_fitting(model, tokenizer)
    _demand_chat(tokenizer)


def demand_finite(weights: dict[str, Tensor]) -> None:
    """Raises `BadInput` naming a tensor that holds NaN or infinity, and how many there are.

    Of what is `absent` that is said when it comes.
    """
    there = {name: weight for name, weight in weights.items() if not weight.is_meta}
    bad = {name: weight for name, weight in there.items() if not quantised.is_finite(weight)}
    if not bad:
        return
    name, weight = next(iter(bad.items()))
    count = int((~torch.isfinite(weight)).sum())
    raise BadInput(
        "The model's weights are not all numbers.",
        f"{name} holds {count:,} of {weight.numel():,} that are NaN or infinite"
        + (f", and so do {len(bad) - 1} other tensors." if len(bad) > 1 else "."),
        _BRING,
    )


def demand_fitting(model: Any, tokenizer: Any) -> None:
    """Raises `BadInput` for a tokenizer with more tokens than ``model``, or none that ends."""
    rows = model.get_input_embeddings().weight.shape[0]
    most = max(tokenizer.get_vocab().values(), default=-1)
    if most >= rows:
        raise BadInput(
            "The tokenizer is not this model's.",
            f"It has tokens up to number {most:,}, and the model knows {rows:,}.",
            "Put the tokenizer files that belong to the model into its folder.",
        )
    if tokenizer.eos_token is None:
        raise BadInput(
            "The tokenizer names no token that ends an answer.",
            "Without eos_token a model is never taught to stop.",
            "Name it in tokenizer_config.json as eos_token.",
        )


def _demand_chat(tokenizer: Any) -> None:
    """That the chat template takes a system's and a user's turn, and writes what they say."""
    do = "Correct chat_template in tokenizer_config.json, or leave it out for a plain one."
    if not tokenizer.chat_template:
        raise BadInput(
            "The tokenizer has no chat template.", "Nothing says how turns are told apart.", do
        )
    turn = {"role": "assistant", "content": _ANSWERED}
    try:
        asked = tokenizer.apply_chat_template(_CHAT, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([*_CHAT, turn], tokenize=False)
    except Exception as error:
        why = f"It fails on a chat of a system's and a user's turn: {error}."
        raise BadInput("The chat template cannot be used.", why, do) from error
    lost = [text for text in (_TOLD, _ASKED, _ANSWERED) if text not in whole]
    if lost or _ASKED not in asked:
        raise BadInput(
            "The chat template cannot be used.",
            f"It leaves out what was said: {(lost or [_ASKED])[0]!r} is not in what it writes.",
            do,
        )


def _demand_sense(params: TuneSettings, is_scorer: bool) -> None:
    if not params.lora_bits:
        return
    if not params.lora_rank:
        raise BadConfig(
            "lora_bits is set, but no adapters are trained.",
            "Weights in 4 bits are frozen; what is trained on them is adapters.",
            "Set lora_rank too, such as 16, or lora_bits to 0.",
        )
    if is_scorer:
        raise BadConfig(
            "A reward model cannot be trained on weights in 4 bits.",
            "Its new head is on a model of another kind, which is not read in 4 bits.",
            "Set align.lora_bits to 0.",
        )
    if is_cut(params.parallel):
        raise BadConfig(
            "Weights in 4 bits cannot be spread over processes.",
            "Each process holds all of them.",
            "Leave parallel.shard, tensor and pipeline at 1, or set lora_bits to 0.",
        )
