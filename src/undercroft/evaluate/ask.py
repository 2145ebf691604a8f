"""Puts every case to a model the way the gateway would, and measures the reference's likelihood."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.engines import Engine
from undercroft.engines.client import EngineClient
from undercroft.errors import EngineFailed
from undercroft.evaluate.answers import without_citations
from undercroft.evaluate.journal import Answered
from undercroft.records import Example, Passage
from undercroft.retrieve.prompt import REFUSAL, Template, messages

#: Reference tokens that perplexity is measured on; each costs about as much as a generated one.
REFERENCE_TOKENS = 32

#: `Answered.finish_reason` of a case that the engine refused, such as one too long for its context.
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Question:
    """A case with the passages that are shown for it, and how a model is to refuse it."""

    case: Example
    passages: tuple[Passage, ...]
    refusal: str = REFUSAL


@dataclass(frozen=True, slots=True)
class Manner:
    """How questions are put: the prompt, and llama.cpp's sampling fields."""

    template: str | Template
    sampling: Mapping[str, Any]


async def answer_all(
    engine: Engine,
    model: str,
    questions: Sequence[Question],
    manner: Manner,
    done: Callable[[Answered], None],
    *,
    slots: int = 1,
) -> None:
    """Ask ``model`` all ``questions``, ``slots`` at a time, giving each result to ``done``.

    One refused question is recorded and the rest go on. Raises `EngineFailed` when the engine is
    gone or refused them all.
    """
    refused: list[EngineFailed] = []
    waiting = iter(questions)

    async def work(slot: int) -> None:
        for question in waiting:
            try:
                done(await asker.ask(question, slot))
            except EngineFailed as error:
                if not engine.alive():
                    raise
                refused.append(error)
                done(Answered(model, question.case.id, "", REFUSED, 0, 0, 0.0))

    async with EngineClient(engine.base_url) as client:
        asker = _Asker(client, model, manner)
        await asyncio.gather(*(work(slot) for slot in range(slots)))
    if questions and len(refused) == len(questions):
        raise refused[0]


@dataclass(frozen=True, slots=True)
class _Asker:
    client: EngineClient
    model: str
    manner: Manner

    async def ask(self, question: Question, slot: int) -> Answered:
        """The answer, then the reference's likelihood; on one ``slot``, which reads the prompt
        once for both."""
        started = time.monotonic()
        chat = messages(question.case.question, question.passages, self.manner.template)
        reply = await self.client.chat(chat, self.manner.sampling, slot)
        nll, tokens = 0.0, 0
        if question.case.answerable:
            nll, tokens = await self._likelihood(chat, question.case.answer, slot)
        return Answered(
            self.model,
            question.case.id,
            reply.text.strip(),
            reply.finish_reason,
            reply.prompt_tokens,
            reply.completion_tokens,
            round(time.monotonic() - started, 3),
            nll,
            tokens,
        )

    async def _likelihood(
        self, chat: Sequence[Mapping[str, str]], reference: str, slot: int
    ) -> tuple[float, int]:
        """Negative log-likelihood of ``reference`` after ``chat``, and its number of tokens."""
        prompt = await self.client.render(chat)
        tokens = await self.client.tokenize(without_citations(reference), special=False)
        scored = tokens[:REFERENCE_TOKENS]
        return await forced_nll(self.client, prompt, scored, slot), len(scored)


async def forced_nll(
    client: EngineClient,
    prompt: str | Sequence[int],
    tokens: Sequence[int],
    slot: int | None = None,
) -> float:
    """Negative log-likelihood, in nats, of ``tokens`` after ``prompt``, a text or tokens.

    llama.cpp's server does not score given text, but it can be left no choice: a grammar of exactly
    these tokens (GBNF ``<[id]>``) is generated, and the log-probabilities it reports are those of
    the raw logits, before the grammar. Raises `EngineFailed` when it wrote anything else.
    """
    if not tokens:
        return 0.0
    body: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": len(tokens),
        "temperature": 0.0,
        "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in tokens),
        "n_probs": 1,
        "cache_prompt": True,
    }
    if slot is not None:
        body["id_slot"] = slot
    steps = (await client.post("/completion", body))["completion_probabilities"]
    if [step["id"] for step in steps[: len(tokens)]] != list(tokens):
        raise EngineFailed(
            "The engine did not write the reference answer it was made to write.",
            "Its perplexity cannot be measured.",
        )
    return -float(sum(step["logprob"] for step in steps[: len(tokens)]))
