"""The README.md of a model that learnt from another, written from facts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from undercroft.records import Artifact
from undercroft.settings import DistilSettings
from undercroft.train.card import course


def student_card(
    name: str,
    base: Artifact,
    teacher: Artifact,
    source: Artifact,
    *,
    params: DistilSettings,
    meta: Mapping[str, Any],
) -> str:
    """A model card in the form that Hugging Face reads (YAML front matter, then Markdown)."""
    how = f"adapters of rank {params.lora_rank}, merged" if params.lora_rank else "every weight"
    return f"""---
license: {meta["licence"]}
base_model: {meta["base"]}
pipeline_tag: text-generation
tags: [undercroft, distillation]
---
# {name}

It learnt to say what another model would have said, and how likely each word would have been.

## What it was made from

- Student: `{base.ref}`, {meta["parameters"]:,} parameters.
- Teacher: `{teacher.ref}`, {teacher.meta.get("parameters", 0):,} parameters, licence
  {teacher.meta.get("licence", "unknown")}.
- What the teacher was shown: `{source.ref}`.

## How it was made

| | |
|---|---|
| loss | {params.share:g} from the teacher's {params.top_k:,} likeliest tokens and the rest as \
one, at temperature {params.temperature:g}; {1 - params.share:g} from the answers themselves |
| trained | {how} |
| steps | {meta["steps"]:,} |
| examples seen | {meta["examples"]:,} |
| time | {meta["seconds"]:.0f} s |
| peak learning rate | {params.learning_rate:g} |
| precision | {params.precision}, with float32 master weights |
| loss, first and last tenth | {meta["first_loss"]:.3f}, {meta["last_loss"]:.3f} |
{course(meta)}| seed | {params.seed} |

## Limits

It can be no better than its teacher where it learnt from it alone, and knows no document that the
teacher was not shown. Whether it answers as well has to be evaluated.
"""
