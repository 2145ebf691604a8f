"""English texts -> how toxic they are: a linear model over words, as a signal.

The model is that of alt-profanity-check: tf-idf and a calibrated linear SVM, trained on some
200,000 comments of Wikipedia's talk pages and of Twitter. Such data makes words that merely name
people look toxic (Dixon et al. 2018, "Measuring and mitigating unintended bias in text
classification"), so those words are given no weight here. Texts are scored in passages, which is
what it was trained on; of other languages it knows nothing, and nothing is said of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: The language that the model was trained on.
LANGUAGE: Final = "en"
_PASSAGE_CHARS: Final = 400  # about as long as the comments it was trained on
_MOST_CHARS: Final = 200_000
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|\n+")

#: Words that name people by what they are; they say nothing of whether a text is toxic.
NEUTRAL: Final = frozenset(
    """
    african africans america american americans arab arabs asian asians atheist atheists bisexual
    black blacks blind boy boys buddhist catholic catholics chinese christian christians deaf
    disabled elderly european europeans female females feminist feminists gay gays gender german
    germans girl girls heterosexual hindu hindus hispanic homosexual homosexuality homosexuals
    immigrant immigrants indian indians islam islamic jew jewish jews latino latinos lesbian
    lesbians lgbt lgbtq male males man men mexican mexicans middle migrant migrants muslim muslims
    old older pakistani paralyzed protestant queer race refugee refugees russian russians sex sexual
    sexuality sikh straight taoist teenage teenager trans transgender white whites woman women young
    younger
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Toxicity:
    """How toxic a text is, 0 to 1: its passages by length, and the worst of them."""

    mean: float
    worst: float


@dataclass(frozen=True)
class _Model:
    """``weights`` float32 [k, words], and of each of the k folds intercept, slope and offset."""

    vectorizer: Any
    weights: NDArray[np.float32]
    intercepts: NDArray[np.float32]
    slopes: NDArray[np.float32]
    offsets: NDArray[np.float32]

    @classmethod
    @cache
    def load(cls) -> _Model:
        """The model that its wheel brings."""
        import joblib
        import profanity_check

        folder = Path(profanity_check.__file__).parent / "data"
        vectorizer = joblib.load(folder / "vectorizer.joblib")
        folds = joblib.load(folder / "model.joblib").calibrated_classifiers_
        weights = np.concatenate([fold.estimator.coef_ for fold in folds])
        weights[:, [at for word, at in vectorizer.vocabulary_.items() if word in NEUTRAL]] = 0.0
        scales = [fold.calibrators[0] for fold in folds]
        return cls(
            vectorizer,
            weights.astype(np.float32),
            np.array([fold.estimator.intercept_[0] for fold in folds], np.float32),
            np.array([scale.a_ for scale in scales], np.float32),
            np.array([scale.b_ for scale in scales], np.float32),
        )

    def probabilities(self, passages: Sequence[str]) -> NDArray[np.float64]:
        """How toxic each passage is, float64 [n]: Platt's sigmoid, averaged over the folds."""
        words = self.vectorizer.transform(passages)
        margins = words @ self.weights.T + self.intercepts
        each = 1 / (1 + np.exp(self.slopes * margins + self.offsets))
        found: NDArray[np.float64] = each.mean(axis=1)
        return found


def toxicity(texts: Sequence[str]) -> list[Toxicity]:
    """Of each of the English ``texts``; of a long one its first 200,000 characters."""
    passages = [list(_passages(text[:_MOST_CHARS])) for text in texts]
    scores = _Model.load().probabilities([passage for each in passages for passage in each])
    ends = np.cumsum([len(each) for each in passages])
    return [
        _summed(each, own) for each, own in zip(passages, np.split(scores, ends[:-1]), strict=True)
    ]


def _summed(passages: Sequence[str], scores: NDArray[np.float64]) -> Toxicity:
    lengths = [len(passage) for passage in passages]
    return Toxicity(float(np.average(scores, weights=lengths)), float(scores.max()))


def _passages(text: str) -> Iterator[str]:
    """Sentences, joined while a passage is short; one at least."""
    parts: list[str] = []
    length = 0
    for sentence in _SENTENCE_END.split(text):
        if length + len(sentence) > _PASSAGE_CHARS and parts:
            yield " ".join(parts)
            parts, length = [], 0
        parts.append(sentence)
        length += len(sentence)
    yield " ".join(parts) or " "
