"""The README.md of a model that was aligned, written from facts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from undercroft.settings import AlignSettings

_DOES: Final = {
    "dpo": "It prefers what was chosen (direct preference optimisation).",
    "ipo": "It prefers what was chosen (identity preference optimisation).",
    "reward": "It gives the end of an answer a number: the higher, the likelier it is chosen.",
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
| objective | {params.objective}, beta {params.beta:g} |
| trained | {how} |
| steps | {meta["steps"]:,} |
| pairs seen | {meta["examples"]:,} |
| time | {meta["seconds"]:.0f} s |
| peak learning rate | {params.learning_rate:g} |
| precision | {params.precision}, with float32 master weights |
| loss, first and last tenth | {meta["first_loss"]:.3f}, {meta["last_loss"]:.3f} |
| seed | {params.seed} |

## Limits

It knows what the pairs show and no more: a preference for short answers in them is one in it.
Whether it still answers as well as its parent has to be evaluated.
"""
