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
{course(training)}| seed | {params.seed} |

## Limits

It is a small model that copies from what retrieval gives it: it neither reasons over passages nor
knows whether they are true. It was not tested for anything but answering with sources.
"""


def pretrained_card(
    name: str,
    dataset: str,
    *,
    params: PretrainSettings,
    model: Mapping[str, Any],
    training: Mapping[str, Any],
) -> str:
    """The card of a model that was trained on the text of ``dataset``."""
    is_new = model["base"] == "random weights"
    start = "from random weights" if is_new else f"on from `{model['base']}`"
    learnt = ", learnt from the same documents" if is_new else ", its base's"
    return f"""---
license: {model["licence"]}
pipeline_tag: text-generation
tags: [undercroft, pretrained]
---
# {name}

A language model trained {start}. It goes on from a text; it was not taught to answer.

## What it was made from

{model["documents"]:,} documents of `{dataset}`; `documents.parquet` and `training.json` beside this
file say which was read at which step.

## How it was made

| | |
|---|---|
| architecture | {model["architecture"]}, {model["layers"]} layers, width {model["width"]}, \
{model["heads"]} heads, {model["kv_heads"]} of keys and values |
| parameters | {model["parameters"]:,} |
| vocabulary | {model["vocabulary"]:,} tokens{learnt} |
| context | {model["context"]} tokens |
| objective | next_token |
| steps | {training["steps"]:,} |
| tokens read | {training["tokens"]:,} |
| times through the documents | {training["epochs"]:g} |
| time | {training["seconds"]:.0f} s |
| peak learning rate | {params.learning_rate:g} |
| precision | {params.precision}, with float32 master weights |
| loss, first and last tenth | {training["first_loss"]:.3f}, {training["last_loss"]:.3f} |
{course(training)}| seed | {params.seed} |

## Limits

It knows little but what it read, repeats what it read, and says wrong things as readily as
right ones. It was not tested for anything.
"""


def course(training: Mapping[str, Any]) -> str:
    """Rows on what was held out and on what went wrong; none for a run without either."""
    rows: list[str] = []
    if "heldout_loss" in training:
        early = ", where it had stopped getting better" if training.get("stopped_early") else ""
        rows.append(
            f"| loss on what was held out | {training['heldout_loss']:.3f}, with the weights of "
            f"step {training['best_step']:,}{early} |\n"
        )
    counts = {
        "steps left out": training.get("skipped_steps", 0),
        "learning rate halved": training.get("halvings", 0),
        "rolled back": training.get("rollbacks", 0),
        "started again": training.get("restarts", 0),
        "damaged rows not read": training.get("refused_rows", 0),
    }
    told = ", ".join(f"{what}: {count:,}" for what, count in counts.items() if count)
    if told:
        rows.append(f"| what went wrong | {told} |\n")
    return "".join(rows)
