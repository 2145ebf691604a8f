"""Supervised fine-tuning: the model's answer should be the example's, given the served prompt.

Examples that show the same passages share their prompt up to the question. They become one
sequence, read once: the common prefix, then each example's question and answer as a branch that
sees the prefix and itself but not the other branches. The loss and its gradient are those of the
examples read one by one (a test holds that), for a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from undercroft.records import Example
from undercroft.retrieve.prompt import messages
from undercroft.train.attention import additive
from undercroft.train.objective import Batch, Terms

Branch = tuple[list[int], list[int]]  # token ids of prompt and answer


class SupervisedFineTuning:
    """Cross-entropy of the answer's tokens, end of turn included; nothing else is scored."""

    def __init__(self, tokenizer: Any, title: str, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._title = title
        self._max_tokens = max_tokens

    def collate(self, examples: Sequence[Example]) -> Batch | None:
        """One sequence of at most ``max_tokens`` from ``examples``; the last give way."""
        branches = [
            (example.id, branch)
            for example in examples
            if sum(map(len, branch := self._encode(example))) <= self._max_tokens
        ]
        while branches:
            batch = _pack([branch for _, branch in branches], [name for name, _ in branches])
            if batch.num_tokens <= self._max_tokens:
                return batch
            branches.pop()
        return None

    def terms(self, model: Any, batch: Batch) -> Terms:
        """Logits are computed only where an answer token is predicted: the vocabulary is large."""
        tensors = batch.tensors
        hidden_1td = model.model(
            input_ids=tensors["tokens_1t"],
            position_ids=tensors["positions_1t"],
            attention_mask=additive(tensors.get("mask_11tt"), model.dtype),
            use_cache=False,
        ).last_hidden_state
        logits_av = model.lm_head(hidden_1td[0, tensors["read_at_a"]]).float()
        loss = functional.cross_entropy(logits_av, tensors["labels_a"], reduction="sum")
        right = int((logits_av.detach().argmax(-1) == tensors["labels_a"]).sum())
        return Terms(loss, batch.count, {"token_accuracy": (float(right), batch.count)})

    def _encode(self, example: Example) -> Branch:
        chat = messages(example.question, example.passages, self._title)
        prompt = self._render(chat, add_generation_prompt=True)
        turn = [*chat, {"role": "assistant", "content": target(example)}]
        whole = self._render(turn, add_generation_prompt=False)
        answer = whole[len(prompt) :].strip() if whole.startswith(prompt) else target(example)
        if not answer.endswith(self._tokenizer.eos_token):
            answer += self._tokenizer.eos_token
        return self._ids(prompt), self._ids(answer)

    def _render(self, chat: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return text

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def target(example: Example) -> str:
    """The answer that is trained: the document's words, then the passages they stand in."""
    cited = "".join(f"[{number}]" for number in example.cited)
    return f"{example.answer} {cited}".strip()


def _pack(branches: Sequence[Branch], ids: Sequence[str]) -> Batch:
    """Branches behind their common prefix as one sequence of T tokens with A targets."""
    shared = _common_prefix([prompt for prompt, _ in branches])
    tokens = list(branches[0][0][:shared])
    positions = list(range(shared))
    owner = [0] * shared  # 0 is the prefix, then the number of the branch
    read_at: list[int] = []
    labels: list[int] = []
    for number, (prompt, answer) in enumerate(branches, start=1):
        branch = prompt[shared:] + answer
        first = len(tokens) + len(prompt) - shared - 1
        read_at += range(first, first + len(answer))
        labels += answer
        tokens += branch
        positions += range(shared, shared + len(branch))
        owner += [number] * len(branch)
    tensors = {
        "tokens_1t": torch.tensor([tokens]),
        "positions_1t": torch.tensor([positions]),
        "read_at_a": torch.tensor(read_at),
        "labels_a": torch.tensor(labels),
    }
    if len(branches) > 1:
        tensors["mask_11tt"] = _branch_mask(torch.tensor(owner))
    return Batch(tensors, len(labels), len(tokens), len(branches), tuple(ids))


def _branch_mask(owner_t: Tensor) -> Tensor:
    """True where a token may look: back, at the prefix or at its own branch."""
    size = len(owner_t)
    causal = torch.ones(size, size, dtype=torch.bool).tril()
    own = owner_t[:, None] == owner_t[None, :]
    return (causal & (own | (owner_t == 0)[None, :]))[None, None]


def _common_prefix(prompts: Sequence[list[int]]) -> int:
    """Tokens that all prompts begin with; at least one of each prompt is left to its branch."""
    longest = min(map(len, prompts)) - 1
    first = prompts[0]
    return next(
        (at for at in range(longest) if any(prompt[at] != first[at] for prompt in prompts)),
        longest,
    )
