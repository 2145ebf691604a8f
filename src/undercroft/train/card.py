"""The README.md of a model made here, written from facts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from undercroft.records import Example
from undercroft.settings import PretrainSettings, TrainSettings


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


def pretrained_card(
    name: str,
    dataset: str,
    documents: int,
    *,
    params: PretrainSettings,
    model: Mapping[str, Any],
    training: Mapping[str, Any],
) -> str:
    """The card of a model that was trained from random weights on ``dataset``."""
    return f"""---
license: {model["licence"]}
pipeline_tag: text-generation
tags: [undercroft, pretrained]
---
# {name}

A language model trained from random weights. It goes on from a text; it was not taught to answer.

## What it was made from

{documents:,} documents of `{dataset}`; `documents.parquet` and `training.json` beside this file say
which was read at which step.

## How it was made

| | |
|---|---|
| architecture | {model["architecture"]}, {params.layers} layers, width {params.width}, \
{params.heads} heads, {params.kv_heads} of keys and values |
| parameters | {model["parameters"]:,} |
| vocabulary | {model["vocabulary"]:,} tokens of byte-level BPE, learnt from the same documents |
| context | {params.context} tokens |
| objective | next_token |
| steps | {training["steps"]:,} |
| tokens read | {training["tokens"]:,} |
| times through the documents | {training["epochs"]:g} |
| time | {training["seconds"]:.0f} s |
| peak learning rate | {params.learning_rate:g} |
| precision | {params.precision}, with float32 master weights |
| loss, first and last tenth | {training["first_loss"]:.3f}, {training["last_loss"]:.3f} |
| seed | {params.seed} |

## Limits

It knows nothing but these documents, repeats what it read, and says wrong things as readily as
right ones. It was not tested for anything.
"""
