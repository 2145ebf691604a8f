"""The README.md of a model that was aligned, written from facts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from undercroft.settings import AlignSettings
from undercroft.train.card import course

_DOES: Final = {
    "dpo": "It prefers what was chosen (direct preference optimisation).",
    "ipo": "It prefers what was chosen (identity preference optimisation).",
    "reward": "It gives the end of an answer a number: the higher, the likelier it is chosen.",
}
_SOUND: Final = {
    "perplexity": "perplexity of plain text",
    "answer_tokens": "tokens an answer, at most 48",
    "empty": "share of answers that are empty",
    "circling": "share of answers that go in circles",
}


def aligned_card(
    name: str, parent: str, preferences: str, *, params: AlignSettings, meta: Mapping[str, Any]
) -> str:
    """A model card in the form that Hugging Face reads (YAML front matter, then Markdown)."""
    task = "text-classification" if params.objective == "reward" else "text-generation"
    how = f"adapters of rank {params.lora_rank}, merged" if params.lora_rank else "every weight"
    return f"""---
license: {meta["licence"]}
base_model: {meta["base"]}
pipeline_tag: {task}
tags: [undercroft, {params.objective}]
---
# {name}

{_DOES[params.objective]}

## What it was made from

`{parent}`, and {meta["pairs"]:,} pairs of answers of `{preferences}`. {meta["too_long"]:,} pairs
were too long, and {meta["gone"]:,} could not be read any more.

## How it was made

| | |
|---|---|
| objective | {_objective(params)} |
| trained | {how} |
| steps | {meta["steps"]:,} |
| pairs seen | {meta["examples"]:,} |
| time | {meta["seconds"]:.0f} s |
| peak learning rate | {params.learning_rate:g} |
| precision | {params.precision}, with float32 master weights |
| loss, first and last tenth | {meta["first_loss"]:.3f}, {meta["last_loss"]:.3f} |
{course(meta)}| seed | {params.seed} |

{_soundness(params, meta)}## Limits

It knows what the pairs show and no more: a preference for short answers in them is one in it.
Whether it still answers as well as its parent has to be evaluated.
"""


def _objective(params: AlignSettings) -> str:
    if params.objective == "reward":
        return "reward"
    return f"{params.objective}, beta {params.beta:g}, chosen answers' own loss {params.nll:g}"


def _soundness(params: AlignSettings, meta: Mapping[str, Any]) -> str:
    """How it talks, beside its parent; nothing for a reward model."""
    if "sound" not in meta:
        return ""
    before, after = meta["parent_sound"], meta["sound"]
    bound = f"{params.max_perplexity_ratio:g} times" if params.max_perplexity_ratio else "no bound"
    rows = "\n".join(
        f"| {said} | {before[name]:g} | {after[name]:g} |" for name, said in _SOUND.items()
    )
    return f"""## How it talks

| | parent | it |
|---|---:|---:|
{rows}

Pages of Python's language reference are the plain text; the bound on its perplexity was {bound} the
parent's. Answers are to {after["prompts"]} prompts of the pairs, the likeliest token each time.

"""
