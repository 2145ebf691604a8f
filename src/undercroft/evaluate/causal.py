"""A model of this project, asked for what engines do not give: the likelihood of a given text.

Reads safetensors by transformers, in bf16. Texts are read a few at a time, filled up on the right,
where causal attention does not look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from undercroft.errors import BadInput, MissingExtra
from undercroft.project import Project

if TYPE_CHECKING:
    from torch import Tensor

_SCORER = "ForSequenceClassification"
_BATCH_TOKENS = 2048  # of a forward pass: its logits are 4 bytes times the vocabulary each


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model gives T tokens: each one's ``nll`` in nats, and whether it was the likeliest."""

    nll_t: NDArray[np.float64]
    is_likeliest_t: NDArray[np.bool_]

    @property
    def nll(self) -> float:
        return float(self.nll_t.sum())


@dataclass(frozen=True, slots=True)
class CausalModel:
    """Model, tokenizer, and the token that stands before a text."""

    name: str
    model: Any
    tokenizer: Any
    start: int

    def tokens(self, text: str) -> list[int]:
        """Of ``text`` alone; special tokens written out in it are text."""
        found: list[int] = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        return found

    def score(self, texts: Sequence[Sequence[int]], skip: int = 0) -> list[Scored]:
        """The likelihood of each sequence of tokens after `start`, without the first ``skip``."""
        import torch

        found: dict[int, Scored] = {}
        for numbers in _batches(texts):
            longest = max(len(texts[number]) for number in numbers)
            tokens_bt = torch.full((len(numbers), longest + 1), self.start)
            for row, number in enumerate(numbers):
                tokens_bt[row, 1 : len(texts[number]) + 1] = torch.tensor(texts[number])
            with torch.no_grad():
                hidden_btd = self.model.model(tokens_bt[:, :-1], use_cache=False).last_hidden_state
                for row, number in enumerate(numbers):
                    size = len(texts[number])
                    logits_tv = self.model.lm_head(hidden_btd[row, skip:size]).float()
                    found[number] = _scored(logits_tv, tokens_bt[row, skip + 1 : size + 1])
        return [found[number] for number in range(len(texts))]

    def continued(
        self, prompts: Sequence[Sequence[int]], most: int, seed: int | None = None
    ) -> list[list[int]]:
        """The ``most`` tokens after each prompt, all of one length: the likeliest, or with ``seed``
        drawn as the model gives them."""
        import torch

        draw = None if seed is None else torch.Generator().manual_seed(seed)
        found: list[list[int]] = []
        for numbers in _batches(prompts, most):
            read = torch.tensor([[self.start, *prompts[number]] for number in numbers])
            cache, said = None, []
            with torch.no_grad():
                for _ in range(most):
                    out = self.model(read, past_key_values=cache, use_cache=True, logits_to_keep=1)
                    cache, read = out.past_key_values, _next(out.logits[:, -1].float(), draw)
                    said.append(read)
            found += torch.cat(said, dim=1).tolist()
        return found


def load(project: Project, ref: str) -> CausalModel:
    """The model ``ref``; raises `BadInput` for one that is no safetensors or gives no text."""
    artifact = project.ledger.artifact(ref)
    form = artifact.meta.get("format")
    if artifact.kind != "model" or form != "safetensors":
        raise BadInput(
            f"{artifact.ref} cannot be asked how likely a text is.",
            f"That needs a model in safetensors; this is {form or artifact.kind}.",
            "Name the model that it was made from: undercroft lineage " + str(artifact.ref),
        )
    if str(artifact.meta.get("architecture", "")).endswith(_SCORER):
        raise BadInput(
            f"{artifact.ref} gives numbers, not text.",
            "It is a reward model.",
            "Name a model that writes.",
        )
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train") from error
    transformers.logging.disable_progress_bar()
    folder = project.path(artifact)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    starts = (tokenizer.bos_token_id, tokenizer.eos_token_id, 0)
    start = next(token for token in starts if token is not None)
    return CausalModel(str(artifact.ref), model.eval(), tokenizer, start)


def _next(logits_bv: Tensor, draw: Any) -> Tensor:
    if draw is None:
        return logits_bv.argmax(-1, keepdim=True)
    return logits_bv.softmax(-1).multinomial(1, generator=draw)


def _scored(logits_tv: Tensor, tokens_t: Tensor) -> Scored:
    from torch.nn import functional

    nll_t = functional.cross_entropy(logits_tv, tokens_t, reduction="none")
    likeliest_t = logits_tv.argmax(-1) == tokens_t
    return Scored(nll_t.double().numpy(), likeliest_t.numpy())


def _batches(texts: Sequence[Sequence[int]], added: int = 0) -> Iterator[list[int]]:
    """Numbers of neighbours in length, each with ``added`` tokens, that fit in one pass."""
    batch: list[int] = []
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for number in order:
        size = len(texts[number]) + added + 1
        if batch and (len(batch) + 1) * size > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
