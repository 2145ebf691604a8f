"""``POST /v1/feedback``: what somebody thinks of an answer; on the disk before we say so."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from undercroft.errors import NotFound, StorageFull
from undercroft.serve.journal import rows
from undercroft.serve.journal.rows import FeedbackRow
from undercroft.serve.wire import asks
from undercroft.serve.wire.exchange import Exchange

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway


async def rate(gateway: Gateway, exchange: Exchange) -> None:
    """Keep one rating; a second one of the same key for the same answer replaces the first."""
    said = asks.parse_feedback(await exchange.body(gateway.max_body_bytes))
    who = await gateway.identify(exchange, "feedback")
    subject = await gateway.recorder.subject_of(said.answer)
    if subject is None:
        raise NotFound(
            f"There is no answer {said.answer!r}.", do="Give the id that the answer came with."
        )
    same = hashlib.sha256(f"{said.answer}\n{who.id}".encode()).hexdigest()[:20]
    row = FeedbackRow(f"fb-{same}", said.answer, rows.now(), who.id, said.rating, b"", subject)
    if said.comment:
        row.comment_sealed = gateway.seal(row, "comment", said.comment.encode())
    if not await gateway.recorder.append_durably(row):
        raise StorageFull("The feedback could not be kept.", "The disk is full.", "Make room.")
    gateway.rollout.rated(said.answer, said.rating)
    gateway.metrics.feedback.labels(str(said.rating)).inc()
    await exchange.reply_json(
        200, {"id": row.id, "object": "feedback", "answer": row.answer, "rating": row.rating}
    )
