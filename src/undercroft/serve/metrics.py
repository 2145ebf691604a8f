"""What Prometheus is told: counts, delays and loads with fixed label sets.

Latency buckets reach from what the gateway adds (milliseconds) to a long answer on a small machine
(minutes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TypedDict, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from undercroft.records import Finding
from undercroft.serve.admission.ladder import STEPS
from undercroft.serve.journal.rows import RequestRow
from undercroft.serve.pools.pool import Pool

_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
)  # fmt: skip


_OF_POOLS: Mapping[str, tuple[str, Callable[[Pool], float]]] = {
    "slots": ("Slots; of remote engines that name none, as found out.", lambda pool: pool.slots),
    "slots_busy": ("Slots that answer now.", lambda pool: pool.busy),
    "queue_length": ("Requests that wait for a slot.", lambda pool: pool.waiting),
    "engine_restarts": ("Engine restarts since start.", lambda pool: pool.restarts),
    "engine_hangs": ("Engines that hung and were ended.", lambda pool: pool.hangs),
    "breakers_open": (
        "Replicas that get nothing or one request to try.",
        lambda pool: pool.resting,
    ),
    "shed_recently": ("Requests turned away in the last 10 s.", lambda pool: pool.shed.count),
}
"""What is asked of every pool at this moment: the help text, and how."""


T = TypeVar("T", bound=MetricWrapperBase)


def _with_labels(metric: T, *labels: str) -> T:
    return metric.labels(*labels)


class _Made(TypedDict):
    registry: CollectorRegistry
    namespace: str


class Metrics:
    """The gateway's own registry, so that two gateways in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made = _Made(registry=self.registry, namespace="undercroft")
        by_model = ("model",)
        self.requests = Counter(
            "requests", "Requests that were admitted, by how they ended.",
            ("model", "kind", "status"), **made,
        )  # fmt: skip
        self.refusals = Counter("refusals", "Requests turned away, by status and code.",
                                ("status", "code"), **made)  # fmt: skip
        self.tokens = Counter("tokens", "Tokens read (prompt) and written (completion).",
                              ("model", "direction"), **made)  # fmt: skip
        self.cache_hits = Counter("cache_hits", "Answers given from the cache.", by_model, **made)
        self.alike = Counter(
            "alike_questions", "Questions asked before in other words: hit, or shadow.",
            ("model", "mode"), **made,
        )  # fmt: skip
        self.degraded = Counter(
            "degraded", "Answers that lacked a step, by step.", ("step",), **made
        )
        self.findings = Counter("findings", "Findings in requests and answers, by kind.",
                                ("side", "kind"), **made)  # fmt: skip
        self.feedback = Counter("feedback", "Ratings received.", ("rating",), **made)
        self.energy = Counter("energy_wh", "Watt-hours of answers.", by_model, **made)
        self.total = self._seconds("request_seconds", "Arrival to last byte.", by_model)
        self.first = self._seconds("first_token_seconds", "Arrival to first text.", by_model)
        self.queue = self._seconds("queue_seconds", "Wait for a slot.", by_model)
        self.retrieval = self._seconds("retrieval_seconds", "Search for passages.", ())
        self.loads = {
            name: Gauge(name, what, by_model, **made) for name, (what, _) in _OF_POOLS.items()
        }
        self.steps = Gauge(
            "degradation", "1 while a step of the ladder is taken.", ("model", "step"), **made
        )
        self.spooled = Gauge("spooled_rows", "Rows not yet in the lake.", **made)
        self._of = cache(_with_labels)  # finding them by their labels costs more than to count

    def _seconds(self, name: str, help_text: str, labels: tuple[str, ...]) -> Histogram:
        return Histogram(
            name, help_text, labels, namespace="undercroft", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip

    def count(self, row: RequestRow) -> None:
        """Add one finished request."""
        of = self._of
        of(self.requests, row.model, row.kind, row.status).inc()
        of(self.tokens, row.model, "prompt").inc(row.prompt_tokens)
        of(self.tokens, row.model, "completion").inc(row.completion_tokens)
        of(self.energy, row.model).inc(row.energy_wh)
        of(self.total, row.model).observe(row.total_ms / 1000)
        of(self.queue, row.model).observe(row.queue_ms / 1000)
        if row.ttft_ms:
            of(self.first, row.model).observe(row.ttft_ms / 1000)
        if row.retrieve_ms:
            self.retrieval.observe(row.retrieve_ms / 1000)
        if row.cached:
            of(self.cache_hits, row.model).inc()
        if row.alike:
            of(self.alike, row.model, "hit" if row.cached else "shadow").inc()
        for step in filter(None, row.degraded.split(",")):
            of(self.degraded, step).inc()

    def count_findings(self, side: str, found: Iterable[Finding]) -> None:
        for each in found:
            self._of(self.findings, side, each.kind).inc()

    def render(self, pools: list[Pool], spooled: int) -> bytes:
        """The exposition text, with the loads of this moment."""
        for pool in pools:
            for name, (_, of) in _OF_POOLS.items():
                self.loads[name].labels(pool.name).set(of(pool))
            for step in STEPS:
                self.steps.labels(pool.name, step.name).set(step.name in pool.ladder)
        self.spooled.set(spooled)
        return generate_latest(self.registry)
