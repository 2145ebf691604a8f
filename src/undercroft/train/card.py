"""The README.md of a trained model, written from facts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from undercroft.records import Example
from undercroft.settings import TrainSettings


def card(
    name: str,
    title: str,
    base: Mapping[str, Any],
    examples: Sequence[Example],
    *,
    params: TrainSettings,
    training: Mapping[str, Any],
) -> str:
    """A model card in the form that Hugging Face reads (YAML front matter, then Markdown)."""
    kinds = Counter(example.kind for example in examples)
    files = len({example.group for example in examples})
    rows = "\n".join(f"| {kind} | {count} |" for kind, count in kinds.most_common())
    licence = str(base.get("licence", "unknown"))
    return f"""---
license: {licence}
base_model: {base.get("base", "unknown")}
pipeline_tag: text-generation
tags: [undercroft, retrieval-augmented-generation]
---
# {name}

Answers questions about {title} from numbered passages, in their words, and cites them. Where the
passages do not hold the answer it is trained to say so.

## What it was made from

- Base model: {base.get("base", "unknown")} ({base.get("architecture", "unknown")}, \
{base.get("parameters", 0):,} parameters, licence {licence}).
- {len(examples):,} synthetic examples made from {files:,} source files; each answer is a span of \
a document. Files held out for evaluation are not among them.

| kind of question | examples |
|---|---:|
{rows}

## How it was trained

| | |
|---|---|
| objective | {params.objective} |
| steps | {training["steps"]:,} |
| examples seen | {training["examples"]:,} |
| tokens read | {training["tokens"]:,} |
| time | {training["seconds"]:.0f} s |
| peak learning rate | {params.learning_rate:g} |
| precision | {params.precision}, with float32 master weights |
| loss, first and last tenth | {training["first_loss"]:.3f}, {training["last_loss"]:.3f} |
| seed | {params.seed} |

## Limits

It is a small model that copies from what retrieval gives it: it neither reasons over passages nor
knows whether they are true. It was not tested for anything but answering with sources.
"""
