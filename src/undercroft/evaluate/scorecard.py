"""Answers -> scores of each case -> a scorecard with intervals. Pure but for writing the files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from undercroft.evaluate import answers
from undercroft.evaluate.ask import Question
from undercroft.evaluate.bootstrap import Difference, compare_means, compare_perplexities
from undercroft.evaluate.journal import Answered
from undercroft.settings import EvaluateSettings

CARD = "scorecard.json"
CASES = "cases.jsonl"
MIN_SCORED = 16  # answerable questions from which the lowest score is worth something
HEADLINE = "answer_f1"

Score = Callable[[Answered, Question], float]


@dataclass(frozen=True, slots=True)
class Metric:
    """``of`` says on which cases it is defined: answerable ones, the others, or all."""

    name: str
    of: str
    lower_is_better: bool
    score: Score


def _refuses(answered: Answered, question: Question) -> float:
    return float(answers.is_refusal(answered.text, question.refusal))


def _is_grounded(answered: Answered, question: Question) -> float:
    return answers.groundedness(answered.text, question.passages, question.refusal)


METRICS: tuple[Metric, ...] = (
    Metric("answer_f1", "answerable", False, lambda a, q: answers.token_f1(a.text, q.case.answer)),
    Metric("grounded", "answerable", False, _is_grounded),
    Metric(
        "cited",
        "answerable",
        False,
        lambda a, q: answers.citation_accuracy(a.text, q.passages, q.case),
    ),
    Metric("refused_unanswerable", "unanswerable", False, _refuses),
    Metric("refused_answerable", "answerable", True, _refuses),
    Metric("repetition", "all", True, lambda a, _: answers.repetition(a.text)),
)
PERPLEXITY = "answer_perplexity"
LOWER_IS_BETTER = frozenset(m.name for m in METRICS if m.lower_is_better)


@dataclass(frozen=True, slots=True)
class Scorecard:
    """``evaluation`` is the summary for people and the gate; ``cases`` has a row for each case."""

    evaluation: Mapping[str, Any]
    cases: Sequence[Mapping[str, Any]]

    def write(self, folder: Path) -> Path:
        """Write ``scorecard.json`` and ``cases.jsonl`` into ``folder``, made anew."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).write_text(json.dumps(self.evaluation, indent=2), encoding="utf-8")
        lines = [json.dumps(case, ensure_ascii=False) for case in self.cases]
        (folder / CASES).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return folder


def score(
    questions: Sequence[Question],
    base: Mapping[str, Answered],
    tuned: Mapping[str, Answered],
    settings: EvaluateSettings,
    kept: Mapping[str, Difference] = MappingProxyType({}),
) -> Scorecard:
    """The scorecard of both models' answers, by case id, to ``questions``; ``kept`` are
    perplexities on other texts, by name."""
    differences = {
        metric.name: _compare(metric, questions, base, tuned, settings) for metric in METRICS
    }
    differences[PERPLEXITY] = _compare_perplexity(questions, base, tuned, settings)
    differences |= kept
    defined = {name: one for name, one in differences.items() if one is not None}
    headline = defined.get(HEADLINE)
    evaluation = {
        "base": {name: _round(one.base) if one else None for name, one in differences.items()},
        "tuned": {name: _round(one.tuned) if one else None for name, one in differences.items()},
        "differences": {name: _as_dict(name, one) for name, one in defined.items()},
        "retrieval": retrieval(questions),
        "lowest_score": lowest_score(questions),
        "cases": len(questions),
        "unanswerable": sum(not question.case.answerable for question in questions),
        "confidence": settings.confidence,
        "significant": headline is not None and headline.significant and headline.low > 0,
        "interval": [_round(headline.low), _round(headline.high)] if headline else None,
    }
    return Scorecard(evaluation, [_row(q, base[q.case.id], tuned[q.case.id]) for q in questions])


def retrieval(questions: Sequence[Question]) -> dict[str, float | int | None]:
    """Hit rate and mean reciprocal rank of the gold passage, over the answerable questions."""
    ranks = [answers.gold_rank(q.passages, q.case) for q in questions if q.case.answerable]
    shown = max((len(question.passages) for question in questions), default=0)
    if not ranks:
        return {"hit_rate": None, "mrr": None, "k": shown}
    found = [rank for rank in ranks if rank is not None]
    return {
        "hit_rate": round(len(found) / len(ranks), 4),
        "mrr": round(sum(1 / rank for rank in found) / len(ranks), 4),
        "k": shown,
    }


def lowest_score(questions: Sequence[Question]) -> float | None:
    """The best passage's score for the answerable question that finds least, or None where there
    are too few to say what a question about these documents finds."""
    scores = [
        max(passage.score for passage in q.passages)
        for q in questions
        if q.case.answerable and q.passages
    ]
    return round(min(scores), 4) if len(scores) >= MIN_SCORED else None


def _compare(
    metric: Metric,
    questions: Sequence[Question],
    base: Mapping[str, Answered],
    tuned: Mapping[str, Answered],
    settings: EvaluateSettings,
) -> Difference | None:
    chosen = [q for q in questions if _is_defined(metric, q)]
    if not chosen:
        return None
    scores = [
        np.array([metric.score(side[q.case.id], q) for q in chosen], dtype=np.float64)
        for side in (base, tuned)
    ]
    return compare_means(scores[0], scores[1], settings)


def _compare_perplexity(
    questions: Sequence[Question],
    base: Mapping[str, Answered],
    tuned: Mapping[str, Answered],
    settings: EvaluateSettings,
) -> Difference | None:
    pairs = [(base[q.case.id], tuned[q.case.id]) for q in questions]
    measured = [(b, t) for b, t in pairs if b.reference_tokens and t.reference_tokens]
    if not measured:
        return None
    return compare_perplexities(
        np.array([b.nll for b, _ in measured]),
        np.array([t.nll for _, t in measured]),
        np.array([float(b.reference_tokens) for b, _ in measured]),
        settings,
    )


def _is_defined(metric: Metric, question: Question) -> bool:
    return metric.of == "all" or (metric.of == "answerable") == question.case.answerable


def _as_dict(name: str, one: Difference) -> dict[str, Any]:
    """``better`` is whether the tuned model's value is the better one, by however little."""
    is_lower_better = name in LOWER_IS_BETTER or name.endswith("perplexity")
    gain = -one.difference if is_lower_better else one.difference
    return {
        "difference": _round(one.difference),
        "low": _round(one.low),
        "high": _round(one.high),
        "cases": one.cases,
        "significant": one.significant,
        "better": gain > 0,
        "lower_is_better": is_lower_better,
    }


def _row(question: Question, base: Answered, tuned: Answered) -> dict[str, Any]:
    case = question.case
    return {
        "id": case.id,
        "kind": case.kind,
        "group": case.group,
        "question": case.question,
        "reference": case.answer,
        "answerable": case.answerable,
        "gold": {
            "document": case.source_document,
            "start": case.source_start,
            "end": case.source_end,
            "rank": answers.gold_rank(question.passages, case) if case.answerable else None,
        },
        "passages": [asdict(passage) for passage in question.passages],
        "base": _side(question, base),
        "tuned": _side(question, tuned),
    }


def _side(question: Question, answered: Answered) -> dict[str, Any]:
    scores = {
        metric.name: _round(metric.score(answered, question))
        for metric in METRICS
        if _is_defined(metric, question)
    }
    if answered.reference_tokens:
        scores[PERPLEXITY] = _round(float(np.exp(answered.nll / answered.reference_tokens)))
    return {
        "answer": answered.text,
        "finish_reason": answered.finish_reason,
        "seconds": answered.seconds,
        "scores": scores,
    }


def _round(value: float) -> float:
    return round(value, 4)
