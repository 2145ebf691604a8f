"""How well passages are found: with and without a second look, and for follow-up questions.

    python -m benchmarks.retrieval PROJECT [--most 1600]

PROJECT is a folder that `undercroft up` brought up, such as `examples/python-docs`. Its questions
were made from its documents; each source file's are wholly on one of two sides, by a hash of the
file's name: the first side learns the weights of `undercroft.retrieve.rerank`, the second judges.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from undercroft.annotate.stage import CASES_FILE, EXAMPLES_FILE
from undercroft.evaluate.answers import holds
from undercroft.project import Project
from undercroft.records import Example, Passage
from undercroft.retrieve import Embedder, Retriever
from undercroft.retrieve.following import standing_alone
from undercroft.retrieve.rerank import DEPTH, FEATURES, WEIGHTS, features

FOLLOW_UPS = Path(__file__).parent / "questions" / "follow_ups.txt"
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--most", type=int, default=1600)
    options = parser.parse_args()
    project = Project.open(options.project)
    retriever, asked = opened(project), questions(project)[: options.most]
    found, per_search_ms = searched(retriever, asked)
    learning = [bool(hashlib.sha256(each.group.encode()).digest()[0] % 2 == 0) for each in asked]
    seen = [np.array(features(each.question, few)) for each, few in zip(asked, found, strict=True)]
    right = [
        np.array([holds(p, each) for p in few]) for each, few in zip(asked, found, strict=True)
    ]
    judged = [at for at, learns in enumerate(learning) if not learns]
    learnt = learn([(seen[at], right[at]) for at, learns in enumerate(learning) if learns])
    before = np.array([reciprocal(right[at]) for at in judged])
    after = np.array([reciprocal(right[at][_order(seen[at], WEIGHTS)]) for at in judged])
    report = {
        "benchmark": "retrieval",
        "questions": len(judged),
        "search_ms": round(per_search_ms, 2),
        "before": shares(before),
        "after": shares(after),
        "gain_hit_at_1": interval((after == 1).astype(float) - (before == 1)),
        "gain_mrr": interval(after - before),
        "learnt": dict(zip(FEATURES, np.round(learnt / learnt[0], 2).tolist(), strict=True)),
        "follow_ups": follow_ups(),
        "ratio": round(float(after.mean() / before.mean()), 3),
    }
    print(json.dumps(report))


def opened(project: Project) -> Retriever:
    name = project.name
    table, version = project.table(project.ledger.artifact(f"index:{name}"))
    embedding = project.path(project.ledger.artifact(f"embedding:{name}"))
    return Retriever(table, version, Embedder.load(embedding))


def questions(project: Project) -> list[Example]:
    """The project's answerable questions, training and held out, in an order of their own."""
    found = []
    for kind, file in (("examples", EXAMPLES_FILE), ("suite", CASES_FILE)):
        folder = project.path(project.ledger.artifact(f"{kind}:{project.name}"))
        for line in (folder / file).read_text(encoding="utf-8").splitlines():
            fields: dict[str, Any] = json.loads(line)
            if fields["answerable"] and fields["source_document"]:
                passages = tuple(Passage(**each) for each in fields.pop("passages"))
                found.append(Example(**fields, passages=passages))
    return sorted(found, key=lambda each: hashlib.sha256(each.id.encode()).digest())


def searched(retriever: Retriever, asked: Sequence[Example]) -> tuple[list[list[Passage]], float]:
    """The candidates for each, and the milliseconds that a whole search takes, on average."""
    found = [retriever.search(each.question, DEPTH, rerank=False) for each in asked]
    began = time.perf_counter()
    for each in asked[:200]:
        retriever.search(each.question, 3)
    return found, (time.perf_counter() - began) * 1000 / min(200, len(asked))


def learn(sides: Sequence[tuple[Any, Any]], steps: int = 3000) -> Any:
    """Weights by logistic regression on the difference of a right passage and each wrong one."""
    pairs = np.concatenate(
        [seen[right][0] - seen[~right] for seen, right in sides if right.any() and not right.all()]
    )
    spread = pairs.std(axis=0) + 1e-6
    scaled, weights = pairs / spread, np.zeros(pairs.shape[1])
    for _ in range(steps):
        missed = 1 / (1 + np.exp(np.clip(scaled @ weights, -30, 30)))
        weights += 0.5 * ((scaled * missed[:, None]).mean(axis=0) - 1e-3 * weights)
    return weights / spread


def reciprocal(right: Any) -> float:
    places = np.flatnonzero(right)
    return 1 / (1 + int(places[0])) if len(places) else 0.0


def shares(ranks: Any) -> dict[str, float]:
    return {
        "hit_at_1": round(float((ranks == 1).mean()), 4),
        "hit_at_3": round(float((ranks >= 1 / 3).mean()), 4),
        "mrr": round(float(ranks.mean()), 4),
    }


def interval(gains: Any) -> list[float]:
    """The mean, and the bounds that hold 95 of 100 bootstrap means."""
    drawn = np.random.default_rng(20).choice(gains, (RESAMPLES, len(gains))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [round(float(each), 4) for each in (gains.mean(), low, high)]


def follow_ups() -> dict[str, float]:
    """Shares of the follow-up questions that are searched for with all that a search needs, as they
    are and rewritten; and of those that stand alone, which are left alone."""
    cases = [
        [part.strip() for part in line.split("|")]
        for line in FOLLOW_UPS.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    leaning = [case for case in cases if case[2] != "alone"]
    alone = [case for case in cases if case[2] == "alone"]
    return {
        "leaning": len(leaning),
        "as_asked": _share(_holds(question, needed) for _, question, needed in leaning),
        "rewritten": _share(
            _holds(standing_alone(question, [earlier]), needed)
            for earlier, question, needed in leaning
        ),
        "alone": len(alone),
        "left_alone": _share(
            standing_alone(question, [earlier]) == question for earlier, question, _ in alone
        ),
    }


def _holds(text: str, needed: str) -> bool:
    return all(word.lower() in text.lower() for word in needed.split())


def _share(found: Any) -> float:
    listed = list(found)
    return round(sum(listed) / len(listed), 4)


def _order(seen: Any, weights: Sequence[float]) -> Any:
    return np.argsort(-(seen @ np.array(weights)), kind="stable")


if __name__ == "__main__":
    main()
