"""Supervised fine-tuning: the model's answer should be the example's, given the served prompt.

Examples that show the same passages share their prompt up to the question. They become one
sequence, read once: the common prefix, then each example's question and answer as a branch that
sees the prefix and itself but not the other branches. The loss is that of the examples read one by
one (a test holds that), for a fraction of the work.

By default the prefix is read without a gradient, as when its keys and values come from a cache:
its tokens are most of the sequence, and the backward pass is twice the forward. With
``through_prompt`` the gradient is the exact one. The lab book has both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from undercroft.records import Example
from undercroft.retrieve.prompt import messages
from undercroft.train.objective import Batch, Terms

Branch = tuple[list[int], list[int]]  # token ids of prompt and answer


class SupervisedFineTuning:
    """Cross-entropy of the answer's tokens, end of turn included; nothing else is scored."""

    def __init__(
        self, tokenizer: Any, title: str, max_tokens: int, *, through_prompt: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self._title = title
        self._max_tokens = max_tokens
        self._through_prompt = through_prompt

    def collate(self, examples: Sequence[Example]) -> Batch | None:
        """One sequence of at most ``max_tokens`` from ``examples``; the last give way."""
        branches = [
            (example.id, branch)
            for example in examples
            if sum(map(len, branch := self._encode(example))) <= self._max_tokens
        ]
        # What every question over these passages begins with, even when only one is asked.
        stem = self._ids(self._prompt(messages("", examples[0].passages, self._title)))
        while branches:
            prompts = [stem, *(prompt for _, (prompt, _) in branches)]
            batch = _pack(
                [branch for _, branch in branches],
                [name for name, _ in branches],
                _common_prefix(prompts),
            )
            if batch.num_tokens <= self._max_tokens:
                return batch
            branches.pop()
        return None

    def terms(self, model: Any, batch: Batch) -> Terms:
        """Logits are computed only where an answer token is predicted: the vocabulary is large."""
        tensors = batch.tensors
        prefix_1p = tensors["prefix_1p"]
        with torch.set_grad_enabled(self._through_prompt):
            cache = model.model(input_ids=prefix_1p, use_cache=True).past_key_values
        hidden_1bd = model.model(
            input_ids=tensors["branches_1b"],
            position_ids=tensors["positions_1b"],
            attention_mask=_additive(tensors["mask_11bt"], model.dtype),
            past_key_values=cache,
        ).last_hidden_state
        logits_av = model.lm_head(hidden_1bd[0, tensors["read_at_a"]]).float()
        loss = functional.cross_entropy(logits_av, tensors["labels_a"], reduction="sum")
        right = int((logits_av.detach().argmax(-1) == tensors["labels_a"]).sum())
        return Terms(loss, batch.count, {"token_accuracy": (float(right), batch.count)})

    def _encode(self, example: Example) -> Branch:
        chat = messages(example.question, example.passages, self._title)
        prompt = self._prompt(chat)
        turn = [*chat, {"role": "assistant", "content": target(example)}]
        whole: str = self._tokenizer.apply_chat_template(turn, tokenize=False)
        answer = whole[len(prompt) :].strip() if whole.startswith(prompt) else target(example)
        if not answer.endswith(self._tokenizer.eos_token):
            answer += self._tokenizer.eos_token
        return self._ids(prompt), self._ids(answer)

    def _prompt(self, chat: list[dict[str, str]]) -> str:
        text: str = self._tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True
        )
        return text

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def target(example: Example) -> str:
    """The answer that is trained: the document's words, then the passages they stand in."""
    cited = "".join(f"[{number}]" for number in example.cited)
    return f"{example.answer} {cited}".strip()


def _pack(branches: Sequence[Branch], ids: Sequence[str], shared: int) -> Batch:
    """Branches behind the ``shared`` first tokens of their prompts.

    Shapes: P tokens of the prefix, B of the branches, T = P + B, A targets.
    """
    tokens: list[int] = []
    positions: list[int] = []
    owner: list[int] = []
    read_at: list[int] = []
    labels: list[int] = []
    for number, (prompt, answer) in enumerate(branches):
        branch = prompt[shared:] + answer
        first = len(tokens) + len(prompt) - shared - 1
        read_at += range(first, first + len(answer))
        labels += answer
        tokens += branch
        positions += range(shared, shared + len(branch))
        owner += [number] * len(branch)
    tensors = {
        "prefix_1p": torch.tensor([branches[0][0][:shared]]),
        "branches_1b": torch.tensor([tokens]),
        "positions_1b": torch.tensor([positions]),
        "mask_11bt": _branch_mask(shared, torch.tensor(owner)),
        "read_at_a": torch.tensor(read_at),
        "labels_a": torch.tensor(labels),
    }
    return Batch(tensors, len(labels), shared + len(tokens), len(branches), tuple(ids))


def _branch_mask(shared: int, owner_b: Tensor) -> Tensor:
    """True where a branch's token may look: at the prefix, and back within its own branch."""
    size = len(owner_b)
    causal_bb = torch.ones(size, size, dtype=torch.bool).tril()
    own_bb = causal_bb & (owner_b[:, None] == owner_b[None, :])
    return torch.cat([torch.ones(size, shared, dtype=torch.bool), own_bb], dim=1)[None, None]


def _additive(mask: Tensor, dtype: Any) -> Tensor:
    """What attention adds to its scores: nothing where a token may look, the least elsewhere."""
    hidden = torch.zeros(mask.shape, dtype=dtype)
    return hidden.masked_fill_(~mask, torch.finfo(dtype).min)


def _common_prefix(prompts: Sequence[list[int]]) -> int:
    """Tokens that all prompts begin with; at least one of each prompt is left to its branch."""
    longest = min(map(len, prompts)) - 1
    first = prompts[0]
    return next(
        (at for at in range(longest) if any(prompt[at] != first[at] for prompt in prompts)),
        longest,
    )
