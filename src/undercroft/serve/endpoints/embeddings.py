"""``POST /v1/embeddings`` and ``/v1/rerank``: the static vectors that the index is made of, and how
near documents are to a question by them."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TYPE_CHECKING, Any

from undercroft.records import Principal
from undercroft.serve.admission.budgets import estimate_tokens
from undercroft.serve.journal import rows
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.wire import asks
from undercroft.serve.wire.bodies import EmbeddingBody, RerankBody
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.failures import NoSuchModel, invalid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from undercroft.serve.gateway import Gateway

    Matrix = NDArray[np.float32]


async def embed(gateway: Gateway, exchange: Exchange) -> None:
    """Embed up to 2,048 texts. Token counts are estimates: static vectors have no context."""
    said, texts = asks.parse_embedding(await exchange.body(gateway.max_body_bytes))
    who = await gateway.identify(exchange, "embed")
    row, vectors = await _encode(gateway, exchange, said, who, texts)
    if said.dimensions is not None:
        vectors = _shortened(vectors, said.dimensions)
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


async def rerank(gateway: Gateway, exchange: Exchange) -> None:
    """Order documents by the cosine between their vectors and the query's, as clients of Cohere's
    and Jina's API ask for it; scores are from 0 to 1."""
    said = asks.parse_rerank(await exchange.body(gateway.max_body_bytes))
    who = await gateway.identify(exchange, "embed")
    texts = [each if isinstance(each, str) else each.text for each in said.documents]
    asked = [said.query, *texts]
    row, vectors = await _encode(gateway, exchange, said, who, asked)
    scores = (vectors[1:] @ vectors[0]).clip(0, 1)  # [n]; vectors have length one
    best = scores.argsort(kind="stable")[::-1][: said.top_n]
    results: list[dict[str, Any]] = [
        {"index": int(at), "relevance_score": round(float(scores[at]), 6)}
        | ({"document": {"text": texts[at]}} if said.return_documents else {})
        for at in best
    ]
    usage = {"prompt_tokens": row.prompt_tokens, "total_tokens": row.prompt_tokens}
    whole = {"id": row.id, "model": said.model, "results": results, "usage": usage}
    await exchange.reply_json(200, whole)


async def _encode(
    gateway: Gateway,
    exchange: Exchange,
    said: EmbeddingBody | RerankBody,
    who: Principal,
    texts: list[str],
) -> tuple[RequestRow, Matrix]:
    """The vectors [n, dim] of ``texts``, and the row that is recorded of them. Raises `NoSuchModel`
    when the route has no such embedding model."""
    route = gateway.route
    names = (route.embedding, route.embedding.partition("@")[0], route.name)
    if route.embedder is None or said.model not in names:
        raise NoSuchModel(
            f"There is no embedding model {said.model!r}.", said.model, [route.embedding],
            "See GET /v1/models for all.",
        )  # fmt: skip
    row = RequestRow(
        rows.new_answer_id(), rows.now(), who.id, said.user or who.id, route.ref, route.embedding,
        "embedding", status="ok",
    )  # fmt: skip
    await gateway.ready_to_seal(row.subject)
    work = asyncio.get_running_loop().run_in_executor
    row.prompt_tokens = sum(estimate_tokens(text) for text in texts)
    await gateway.leases.provide(who, row.prompt_tokens)
    with gateway.budgets.reserve(who, row.prompt_tokens) as grant:
        vectors: Matrix = await work(gateway.search_threads, route.embedder.encode, texts)
        grant.used = row.prompt_tokens
    row.question_sealed = gateway.seal(row, "question", "\n".join(texts).encode())
    row.total_ms = (time.perf_counter() - exchange.began) * 1000
    gateway.record(row)
    return row, vectors


def _shortened(vectors: Matrix, dimensions: int) -> Matrix:
    """The first ``dimensions`` of each vector, again of length one: a static model's dimensions
    come in the order of what they tell (Model2Vec, principal components)."""
    if dimensions > vectors.shape[1]:
        raise invalid("dimensions", f"This model has {vectors.shape[1]}.")
    import numpy as np

    short: Matrix = vectors[:, :dimensions]
    lengths = np.linalg.norm(short, axis=1, keepdims=True)
    shortened: Matrix = np.divide(short, lengths, out=np.zeros_like(short), where=lengths > 0)
    return shortened
