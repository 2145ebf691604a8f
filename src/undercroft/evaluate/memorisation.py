"""What of its training text a model gives back word by word.

- *Prefix extraction* (Carlini et al. 2023, "Quantifying memorization"): shown the k tokens before a
  place in a training text, are the m likeliest tokens the text's own? The same places for every k.
- *Verbatim overlap*: the longest run of words that what a model writes by itself has in common with
  the training text (`overlap`).

Both mean little alone: some text can be guessed, and people repeat each other. So both are asked of
text that was not trained on too, where there is any. `canaries` has the third measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from undercroft.errors import BadInput
from undercroft.evaluate.causal import CausalModel
from undercroft.evaluate.overlap import Body

PREFIXES = (8, 16, 32, 64)
CONTINUED = 32
LONG_RUN = 13  # words: what counts as the same text elsewhere too (GPT-3's decontamination)


@dataclass(frozen=True, slots=True)
class Extraction:
    """Of ``places`` after ``prefix`` tokens: the share of them whose continuation was given back
    whole, and the mean number of tokens before the first that was not."""

    prefix: int
    places: int
    extracted: float
    mean_tokens: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """The longest runs of words that texts have in common with the training text."""

    texts: int
    median: float
    longest: int
    long_share: float
    example: str = ""


def extraction(
    model: CausalModel,
    texts: Sequence[str],
    prefixes: Sequence[int] = PREFIXES,
    continued: int = CONTINUED,
) -> list[Extraction]:
    """Prefix extraction at one place in each text that is long enough, for each length of prefix.

    Raises `BadInput` when none is.
    """
    longest = max(prefixes)
    encoded = [model.tokens(text) for text in texts]
    held = [tokens for tokens in encoded if len(tokens) >= longest + continued]
    if not held:
        raise BadInput(
            f"No text is long enough to ask for {continued} tokens after {longest}.",
            f"The longest has {max(map(len, encoded), default=0)} tokens.",
            "Give longer texts, or ask for less with --prefix and --tokens.",
        )
    right = [tokens[longest : longest + continued] for tokens in held]
    found = []
    for size in sorted(prefixes):
        prompts = [tokens[longest - size : longest] for tokens in held]
        given = model.continued(prompts, continued)
        kept = np.array(
            [_agreement(ours, theirs) for ours, theirs in zip(given, right, strict=True)]
        )
        whole = float((kept == continued).mean())
        found.append(Extraction(size, len(held), whole, float(kept.mean())))
    return found


def written(model: CausalModel, count: int, tokens: int, seed: int) -> list[str]:
    """What ``model`` writes by itself: ``count`` texts of ``tokens`` drawn as it gives them."""
    drawn = model.continued([[]] * count, tokens, seed)
    return [model.tokenizer.decode(each, skip_special_tokens=True) for each in drawn]


def overlap(body: Body, texts: Sequence[str]) -> Overlap:
    """How long the runs are that ``texts`` share with ``body``."""
    runs = [body.longest(text) for text in texts]
    sizes = np.array([run.words for run in runs])
    best = int(sizes.argmax())
    return Overlap(
        len(texts),
        float(np.median(sizes)),
        int(sizes[best]),
        float((sizes >= LONG_RUN).mean()),
        _words(texts[best], runs[best].start, runs[best].words),
    )


def _agreement(given: Sequence[int], right: Sequence[int]) -> int:
    """Tokens before the first that differs."""
    pairs = zip(given, right, strict=True)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), len(right))


def _words(text: str, start: int, count: int) -> str:
    from undercroft.evaluate.overlap import words_of

    return " ".join(words_of(text)[start : start + count])


def as_dict(found: Any) -> dict[str, Any]:
    """A measure with its numbers rounded."""
    from dataclasses import asdict

    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(found).items()
    }
