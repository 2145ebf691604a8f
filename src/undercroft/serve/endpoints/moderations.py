"""``POST /v1/moderations``: what our own detectors find in texts, in OpenAI's shape.

Categories that nothing here measures are named too, since clients read them all; that they were
not looked at is said by their ``category_applied_input_types``, which are empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from undercroft.detect import find, score
from undercroft.records import Finding
from undercroft.serve.journal import rows
from undercroft.serve.wire import asks
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.failures import invalid

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

MODEL = "undercroft-detectors"
FLAGGED_FROM = 0.5
MAX_CHARACTERS = 200_000  # of one request: looked through at 100,000 a second or so

DETECTED = {
    "pii": "pii",
    "secret": "secret",
    "injection": "injection",
    "malware": "malware",
    "spam": "spam",
    "illicit": "malware",
}
"""Categories, and the family of findings that each goes by."""

NOT_MEASURED = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit/violent",
    "self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors",
    "violence", "violence/graphic",
)  # fmt: skip


async def moderate(gateway: Gateway, exchange: Exchange) -> None:
    """A verdict on each text. Nothing of it is recorded."""
    texts = asks.parse_moderation(await exchange.body(gateway.max_body_bytes))
    await gateway.identify(exchange, "chat")
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise invalid("input", f"It is longer than {MAX_CHARACTERS:,} characters.")
    work = asyncio.get_running_loop().run_in_executor
    results = await work(gateway.search_threads, lambda: [_result(text) for text in texts])
    answer_id = "modr-" + rows.new_answer_id().removeprefix("ans-")
    await exchange.reply_json(200, {"id": answer_id, "model": MODEL, "results": results})


def _result(text: str) -> dict[str, Any]:
    found = find(text, sorted(set(DETECTED.values())))
    scores = {name: round(score(found, family), 4) for name, family in DETECTED.items()}
    scores |= dict.fromkeys(NOT_MEASURED, 0.0)
    categories = {name: value >= FLAGGED_FROM for name, value in scores.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {
            name: ["text"] if name in DETECTED else [] for name in scores
        },
        "findings": _findings(found),
    }


def _findings(found: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {"kind": each.kind, "start": each.start, "end": each.end, "score": each.score,
         "rule": each.rule}
        for each in found
    ]  # fmt: skip
