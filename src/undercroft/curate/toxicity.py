"""English texts -> how toxic they are: a linear model over words, as a signal.

The model is that of alt-profanity-check: tf-idf and a calibrated linear SVM, trained on some
200,000 comments of Wikipedia's talk pages and of Twitter. Such data makes words that merely name
people look toxic (Dixon et al. 2018, "Measuring and mitigating unintended bias in text
classification"), so those words are given no weight here. It is applied to the hashes of words
that `signals` has, passage by passage, each about as long as what it was trained on. Of other
languages it knows nothing, and nothing is said of them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from undercroft.curate import kernels
from undercroft.curate.signals import Measured, hashes_of
from undercroft.errors import MissingExtra

#: The language that the model was trained on.
LANGUAGE: Final = "en"
_PASSAGE_WORDS: Final = 60
_FILES: Final = ("vectorizer.joblib", "model.joblib")

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
class _Model:
    """V words and k folds: ``hashes`` uint64 [V] sorted, ``idf`` float64 [V], ``weights`` float64
    [k, V], and of each fold intercept, slope and offset, float64 [k]."""

    hashes: NDArray[np.uint64]
    idf: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    slopes: NDArray[np.float64]
    offsets: NDArray[np.float64]

    @classmethod
    @cache
    def load(cls) -> _Model:
        """The model that its wheel brings; as arrays under the user's cache folder once it was
        read, since reading it takes scikit-learn, which workers then need not load."""
        spec = find_spec("profanity_check")
        if spec is None or spec.origin is None:
            raise MissingExtra("alt-profanity-check", "data")
        folder = Path(spec.origin).parent / "data"
        kept = _cache_file([folder / name for name in _FILES])
        try:
            with np.load(kept) as arrays:
                return cls(**arrays)
        except (OSError, ValueError, TypeError, EOFError, BadZipFile):
            model = cls._read(folder)
        _keep(kept, vars(model))
        return model

    @classmethod
    def _read(cls, folder: Path) -> _Model:
        """Its words of ASCII letters: those with digits share their hashes."""
        import joblib

        vectorizer, fitted = (joblib.load(folder / name) for name in _FILES)
        folds = fitted.calibrated_classifiers_
        words = [word for word in vectorizer.vocabulary_ if word.isascii() and word.isalpha()]
        hashes = hashes_of(words)
        order = np.argsort(hashes)
        columns = np.array([vectorizer.vocabulary_[word] for word in words])[order]
        weights = np.concatenate([fold.estimator.coef_ for fold in folds])[:, columns]
        weights[:, np.array([word in NEUTRAL for word in words])[order]] = 0.0
        scales = [fold.calibrators[0] for fold in folds]
        return cls(
            hashes[order],
            vectorizer.idf_[columns],
            weights,
            np.array([fold.estimator.intercept_[0] for fold in folds]),
            np.array([scale.a_ for scale in scales]),
            np.array([scale.b_ for scale in scales]),
        )

    def probabilities(
        self, words: NDArray[np.uint64], passages: NDArray[np.int64], count: int
    ) -> NDArray[np.float64]:
        """How toxic each of ``count`` passages is, float64 [count]: Platt's sigmoid, averaged over
        the folds. ``passages`` says which one each of the ``words`` is in."""
        at = np.minimum(np.searchsorted(self.hashes, words), len(self.hashes) - 1)
        known = self.hashes[at] == words
        keys, times = np.unique(passages[known] * len(self.hashes) + at[known], return_counts=True)
        rows, columns = np.divmod(keys, len(self.hashes))
        values = times * self.idf[columns]
        norms = np.sqrt(np.bincount(rows, values**2, count))
        values /= norms[rows]
        total = np.zeros(count)
        for fold, weights in enumerate(self.weights):
            margins = np.bincount(rows, values * weights[columns], count) + self.intercepts[fold]
            total += 1 / (1 + np.exp(self.slopes[fold] * margins + self.offsets[fold]))
        return total / len(self.weights)


def _cache_file(files: Sequence[Path]) -> Path:
    """Where the arrays are kept; another place for other files or another way of reading them."""
    digest = hashlib.sha256()
    for file in (*files, Path(__file__), Path(kernels.__file__)):
        digest.update(file.read_bytes())
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "undercroft" / "toxicity" / f"{digest.hexdigest()[:32]}.npz"


def _keep(file: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays, all or nothing; a folder that cannot be written to is passed over."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as half:
            np.savez(half, **arrays)  # type: ignore[arg-type]
        Path(half.name).rename(file)
    except OSError:
        return


def toxicity(measured: Measured) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How toxic each of n texts is, 0 to 1, if it is English: the mean of its passages, and the
    worst of them, float64 [n]."""
    counts = np.diff(measured.starts)
    pieces = np.maximum(-(-counts // _PASSAGE_WORDS), 1)
    firsts = np.cumsum(pieces) - pieces
    text = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(measured.words)) - measured.starts[:-1][text]
    passages = firsts[text] + place // _PASSAGE_WORDS
    scores = _Model.load().probabilities(measured.words, passages, int(pieces.sum()))
    sizes = np.bincount(passages, minlength=len(scores)) if len(passages) else np.zeros(len(scores))
    sums = np.add.reduceat(scores * sizes, firsts)
    return sums / np.maximum(counts, 1), np.maximum.reduceat(scores, firsts) * (counts > 0)
