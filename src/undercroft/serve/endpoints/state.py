"""What the gateway says about itself: models, health, metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from undercroft.errors import UndercroftError
from undercroft.serve import warming
from undercroft.serve.pools.pool import Pool
from undercroft.serve.wire.exchange import Exchange
from undercroft.serve.wire.failures import NoSuchModel

if TYPE_CHECKING:
    from undercroft.serve.gateway import Gateway

FRESH_S = 5.0  # an answer this recent proves that the engine works


async def models(gateway: Gateway, exchange: Exchange) -> None:
    """``GET /v1/models``: the route's name, its models by ref, and the embedding model."""
    who = await gateway.identify(exchange, "chat")
    data = [_model(gateway, name) for name in gateway.router.models_for(who)]
    await exchange.reply_json(200, {"object": "list", "data": data})


async def model(gateway: Gateway, exchange: Exchange) -> None:
    """``GET /v1/models/NAME``."""
    who = await gateway.identify(exchange, "chat")
    name, names = exchange.named, gateway.router.models_for(who)
    if name not in names:
        raise NoSuchModel(f"There is no model {name!r}.", name, names, "See GET /v1/models.")
    await exchange.reply_json(200, _model(gateway, name))


async def health(gateway: Gateway, exchange: Exchange) -> None:
    """``GET /health``: 200 only when every pool answers; one that has not just done so is tried."""
    pools = {pool.name: await _pool_health(gateway, pool) for pool in gateway.router.pools}
    well = all(state["answers"] for state in pools.values())
    failing, ledger = gateway.recorder.failing, gateway.door.failing
    budgets = gateway.leases.health
    lesser = failing or ledger or budgets["failing"]
    lesser = lesser or any(state["degraded"] for state in pools.values())
    report = {
        "status": "down" if not well else "degraded" if lesser else "ok",
        "route": gateway.route.ref,
        "models": pools,
        "records": {"waiting": gateway.recorder.waiting, "failing": failing or None},
        "ledger": {"failing": ledger or None},
        "cache": gateway.cache.health,
        "budgets": budgets,
        "uptime_s": round(time.time() - gateway.started_at, 1),
    }
    await exchange.reply_json(200 if well else 503, report)


async def metrics(gateway: Gateway, exchange: Exchange) -> None:
    """``GET /metrics`` in Prometheus's text format."""
    text = gateway.metrics.render(gateway.router.pools, gateway.recorder.waiting)
    kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
    await exchange.reply(200, text, [kind])


def _model(gateway: Gateway, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": gateway.route.created,
        "owned_by": gateway.project.name,
    }


async def _pool_health(gateway: Gateway, pool: Pool) -> dict[str, Any]:
    async with pool.being_checked:
        fresh = time.monotonic() - pool.spoke_at < FRESH_S
        answers = pool.asleep or (pool.alive and (fresh or await _try(gateway, pool)))
    return {
        "answers": answers,
        "busy": pool.busy,
        "waiting": pool.waiting,
        "slots": pool.slots,
        "restarts": pool.restarts,
        "hangs": pool.hangs,
        "breakers_open": pool.resting,
        "degraded": list(pool.ladder.steps),
    }


async def _try(gateway: Gateway, pool: Pool) -> bool:
    """Whether a replica writes a token now. Remote ones are believed: asking costs money."""
    seat = next((seat for seat in pool.seats if seat.ready), None)
    if seat is None:
        return False
    if not seat.replica.local:
        return True
    try:
        await warming.check(gateway, seat.replica)
    except UndercroftError:
        return False
    pool.spoke_at = time.monotonic()
    return True
