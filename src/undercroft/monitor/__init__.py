"""Traffic -> what a person or a program can act on.

In come the lake's ``requests`` and ``feedback`` tables, which the gateway writes; out go pages of
requests, the whole trace of one answer, what people thought of answers, and an overview of the last
minutes. Read `traffic` first. The live counters that Prometheus scrapes are the gateway's own
(`undercroft.serve.metrics`).
"""

from undercroft.monitor.overview import Overview, overview
from undercroft.monitor.satisfaction import (
    FeedbackSummary,
    Opinion,
    feedback_summary,
    opinions_of,
)
from undercroft.monitor.traffic import AnswerTrace, RequestSummary, answer, requests

__all__ = [
    "AnswerTrace",
    "FeedbackSummary",
    "Opinion",
    "Overview",
    "RequestSummary",
    "answer",
    "feedback_summary",
    "opinions_of",
    "overview",
    "requests",
]
