"""``POST /v1/embeddings``: texts -> the static vectors that the index is made of."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TYPE_CHECKING, Any

from undercroft.errors import NotFound
from undercroft.serve.admission.budgets import estimate_tokens
from undercroft.serve.journal import rows
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.wire import asks
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.failures import HttpError

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway


async def embed(gateway: Gateway, exchange: Exchange) -> None:
    """Embed up to 2,048 texts. Token counts are estimates: static vectors have no context."""
    said, texts = asks.parse_embedding(await exchange.body(gateway.max_body_bytes))
    who = await gateway.identify(exchange, "embed")
    route = gateway.route
    names = (route.embedding, route.embedding.partition("@")[0], route.name)
    if route.embedder is None or said.model not in names:
        raise NotFound(
            f"There is no embedding model {said.model!r}.", said.model, [route.embedding],
            "See GET /v1/models for all.",
        )  # fmt: skip
    row = RequestRow(
        rows.new_answer_id(), rows.now(), who.id, said.user or who.id, route.ref,
        route.embedding, "embedding", status="ok",
    )  # fmt: skip
    await gateway.ready_to_seal(row.subject)
    vectors = await asyncio.to_thread(route.embedder.encode, texts)  # [n, dim] float32
    if said.dimensions not in (None, vectors.shape[1]):
        raise HttpError(
            400, "invalid_value", f"'dimensions' must be {vectors.shape[1]} for this model.",
            param="dimensions",
        )  # fmt: skip
    row.prompt_tokens = sum(estimate_tokens(text) for text in texts)
    row.question_sealed = gateway.seal(row, "question", "\n".join(texts).encode())
    row.total_ms = (time.perf_counter() - exchange.began) * 1000
    gateway.record(row)
    as_base64 = said.encoding_format == "base64"
    data: list[dict[str, Any]] = [
        {
            "object": "embedding",
            "index": number,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
            if as_base64
            else vector.tolist(),
        }
        for number, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": row.prompt_tokens, "total_tokens": row.prompt_tokens}
    whole = {"object": "list", "data": data, "model": said.model, "usage": usage}
    await exchange.reply_json(200, whole)
