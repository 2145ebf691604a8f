"""Settings of a rollout: how a new route meets traffic, and what makes it stay or go."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from undercroft.settings.section import Section

Measure = Literal["errors", "findings", "unfinished", "unhappy", "latency", "cost"]


def _to_show() -> list[Measure]:
    return ["errors", "findings", "unfinished"]


class RolloutSettings(Section):
    """A new route beside the live one, a share of the traffic at a time."""

    automatic: bool = Field(
        False, description="a route that passed the gate meets traffic in steps, not at once"
    )
    steps: list[float] = Field(
        default_factory=lambda: [0.05, 0.25, 0.5],
        min_length=1,
        description="shares of the traffic for the new route; the old one's control is as large",
    )
    shadow_requests: int = Field(
        0, ge=0, description="requests the new route answers unseen before it gets traffic"
    )
    unit: Literal["conversation", "subject", "request"] = Field(
        "conversation", description="what keeps its route, and is counted once"
    )
    step_pairs: int = Field(50, ge=1, description="units in each arm before a step ends")
    step_minutes: float = Field(5.0, ge=0, description="shortest time of a step")
    deadline_hours: float = Field(72.0, gt=0, description="when there was too little traffic")
    undecided: Literal["hold", "roll back"] = Field(
        "hold", description="what happens at the deadline; hold waits for somebody to decide"
    )
    harm_alpha: float = Field(
        0.01, gt=0, lt=1, description="chance that a route that is no worse is rolled back, ever"
    )
    promote_alpha: float = Field(
        0.05, gt=0, lt=1, description="chance that a worse route is promoted, for each measure"
    )
    harm_margin: float = Field(
        0.0, ge=0, lt=1, description="a rate that is higher by no more than this is no harm"
    )
    promote_margin: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="promotion needs proof that rates are worse by less",
    )
    must_pass: list[Measure] = Field(
        default_factory=_to_show,
        description="what has to be shown before promotion; all are watched for harm",
    )
    latency_quantile: float = Field(0.9, gt=0, lt=1, description="of the time to the first text")
    tolerance: float = Field(
        0.5, ge=0, description="latency and mean cost may grow by this share of the control's"
    )
    failures_in_a_row: int = Field(
        5, ge=2, description="of the new route, that roll back at once, without statistics"
    )
    bake_minutes: float = Field(10.0, ge=0, description="how long the old route is kept warm")
    approval: bool = Field(
        False, description="the last step waits for an admin's key that did not start the rollout"
    )

    @field_validator("steps")
    @classmethod
    def _are_growing_shares(cls, steps: list[float]) -> list[float]:
        if any(not 0 < step <= 0.5 for step in steps) or sorted(set(steps)) != steps:
            raise ValueError("must be growing shares above 0 and up to 0.5, the control's size")
        return steps
