"""Settings of who is let in, in which order, and what is done when there is too much to do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from undercroft.settings.section import Section

Positive = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(ge=0, lt=1)]


class AdmissionSettings(Section):
    """Who is served first, and what gives way under load or when an engine fails."""

    interactive_weight: Positive = Field(
        8.0, description="slots that requests of people get for each of another lane, by weight"
    )
    batch_weight: Positive = Field(2.0, description='weight of service_tier "flex"')
    background_weight: Positive = Field(1.0, description="weight of shadow requests of a trial")
    interactive_reserve: Share = Field(
        0.25, description="share of the slots, rounded down, that only people's requests get"
    )
    batch_reserve: Share = Field(0.0, description="share of the slots kept for batch requests")
    aging_s: float = Field(
        15.0, gt=0, description="wait after which a request is next, whatever its lane"
    )
    target_first_s: float = Field(
        30.0,
        ge=0,
        description="prompts wait only as long as the engine can read them within this; 0: no "
        "such limit",
    )
    tenant_tokens: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict[str, int], description="token budget per day of tenants; 0: none"
    )
    tenant_shares: dict[str, Positive] = Field(
        default_factory=dict[str, float],
        description="a tenant's share of a lane against 1 for others",
    )
    adaptive: bool = Field(
        True, description="find out how many requests remote engines take that name no slots"
    )
    most_slots: int = Field(256, gt=0, description="more are never asked of one remote engine")
    retry_share: Share = Field(
        0.2, description="requests that are tried again, of those of the last ten seconds"
    )
    retry_least: int = Field(10, ge=0, description="tries again that are always allowed")
    hedge: bool = Field(
        False, description="ask a second replica when the first is slower than 95 in 100"
    )
    hedge_share: Share = Field(0.05, description="requests that a second replica is asked")
    breaker_failures: int = Field(
        5, gt=0, description="of its last 20 answers that break before a replica gets no more"
    )
    breaker_rest_s: float = Field(
        1.0, gt=0, description="until one request tries it again; doubles up to 30 s"
    )
    hang_s: float = Field(
        20.0, gt=0, description="silence after which an engine that does not react is killed"
    )
    check_idle_s: float = Field(
        300.0,
        ge=0,
        description="a replica that nobody asked for so long is asked for a token; 0: never",
    )
    degrade: bool = Field(True, description="give lesser answers under load rather than none")
    degrade_least_s: float = Field(
        5.0, ge=0, description="time for which a step of degradation lasts at least"
    )
    short_tokens: int = Field(
        128, gt=0, description="longest answer while answers are kept short under load"
    )
