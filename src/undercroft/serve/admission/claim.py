"""What a request wants of a pool, as far as admission is concerned."""

from __future__ import annotations

import time

import msgspec

from undercroft.records import Principal
from undercroft.serve.wire.asks import Ask, Lane
from undercroft.serve.wire.exchange import Exchange
from undercroft.settings import AdmissionSettings

_TRIES = b"x-stainless-retry-count"  # openai-python says how often it has tried before

LANES: tuple[Lane, ...] = ("interactive", "batch", "background")
"""Highest first: a lower one gives way when there is no room."""


class Claim(msgspec.Struct, frozen=True):
    """``tokens`` is what the engine has to read at most, roughly, and ``cost`` that and what it may
    write. ``deadline`` is monotonic. ``tries`` is how often the client has asked before.
    ``beginnings`` tell replicas that have read the prompt's beginning from others (`affinity`)."""

    lane: Lane
    deadline: float
    tenant: str = ""
    share: float = 1.0
    tokens: int = 0
    cost: int = 0
    tries: int = 0
    beginnings: tuple[bytes, ...] = ()


def claim_of(
    exchange: Exchange,
    ask: Ask,
    who: Principal,
    *,
    cost: int,
    patience_s: float,
    rules: AdmissionSettings,
) -> Claim:
    """What ``ask`` claims, which costs ``cost`` tokens at most, of somebody with ``patience_s``."""
    tenant = who.tenant or who.id
    tries = exchange.header(_TRIES)
    return Claim(
        lane=ask.lane,
        deadline=time.monotonic() + patience_s,
        tenant=tenant,
        share=rules.tenant_shares.get(tenant, 1.0),
        tokens=cost - ask.max_tokens * ask.n,
        cost=cost,
        tries=int(tries) if tries.isdigit() else 0,
    )


def in_background(patience_s: float) -> Claim:
    """A claim of nobody in particular, for work that nobody waits for."""
    return Claim("background", time.monotonic() + patience_s)
