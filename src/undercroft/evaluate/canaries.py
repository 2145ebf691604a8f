"""Canaries: random secrets put among the training texts, to see whether a model keeps them.

The exposure of a secret is log2 |R| - log2 rank, its rank by likelihood among all secrets R that
could have been drawn (Carlini et al. 2019, definitions 2 and 4). R is a sample here, of which the
secret is one, so that the exposure is exact for the sample and at most log2 of its size; rank / |R|
is then the exact chance of so high a rank for a model that never saw the secret. Such a model gives
1 bit in the median, and log2 e = 1.44 in the mean.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from undercroft.errors import BadInput
from undercroft.evaluate.causal import CausalModel

DIGITS = 9
_LETTERS = "bcdfghjklmnpqrstvwxz"


@dataclass(frozen=True, slots=True)
class Canary:
    """``text`` is ``before`` and the ``secret``, digits that were drawn."""

    id: str
    before: str
    secret: str

    @property
    def text(self) -> str:
        return self.before + self.secret


@dataclass(frozen=True, slots=True)
class Exposure:
    """``rank`` 1 is the likeliest of ``candidates``; ``p`` its chance for an unseen secret."""

    canary: str
    rank: int
    candidates: int

    @property
    def bits(self) -> float:
        return math.log2(self.candidates) - math.log2(self.rank)

    @property
    def p(self) -> float:
        return self.rank / self.candidates


def draw(count: int, seed: int) -> list[Canary]:
    """``count`` canaries, the same ones for the same ``seed``."""
    found = []
    for number in range(count):
        own = random.Random(f"{seed}:canary:{number}")  # noqa: S311 - a test, no real secret
        name = "".join(own.choice(_LETTERS) for _ in range(6))
        found.append(Canary(name, f"The code of the vault {name} is ", _digits(own)))
    return found


def write(canaries: Sequence[Canary], path: Path) -> None:
    """JSON Lines whose ``text`` is what training reads."""
    lines = [json.dumps({"text": each.text, **asdict(each)}) + "\n" for each in canaries]
    path.write_text("".join(lines), encoding="utf-8")


def read(path: Path) -> list[Canary]:
    """What `write` wrote; raises `BadInput`, naming the line, for anything else."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"Canaries cannot be read from {path}.", f"{error}.") from error
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            canary = Canary(record["id"], record["before"], record["secret"])
            if not (canary.secret.isascii() and canary.secret.isdigit()):
                raise ValueError("the secret is not made of digits")
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"Line {number} of {path} is no canary.",
                f"{type(error).__name__}: {error}.",
                "Make canaries with: undercroft memorisation canaries",
            ) from error
        found.append(canary)
    if not found:
        raise BadInput(f"There is no canary in {path}.", do="It must be what was trained on.")
    return found


def exposure(model: CausalModel, canary: Canary, candidates: int, seed: int) -> Exposure:
    """The rank of ``canary`` among ``candidates`` secrets, itself included.

    Secrets as likely as it count as likelier: a model that tells none apart exposes none.
    """
    own = random.Random(f"{seed}:candidates:{canary.id}")  # noqa: S311 - a sample
    size = len(canary.secret)
    most = min(candidates, 10**size)
    drawn = {canary.secret: None}
    while len(drawn) < most:
        drawn[_digits(own, size)] = None
    texts = [model.tokens(canary.before + secret) for secret in drawn]
    shared = _common(texts)
    given, *others = (scored.nll for scored in model.score(texts, skip=shared))
    return Exposure(canary.id, 1 + sum(other <= given for other in others), most)


def _digits(own: random.Random, size: int = DIGITS) -> str:
    return "".join(str(own.randrange(10)) for _ in range(size))


def _common(texts: Sequence[Sequence[int]]) -> int:
    """Tokens that all begin with."""
    shortest = min(map(len, texts))
    return next(
        (at for at in range(shortest) if len({text[at] for text in texts}) > 1), shortest - 1
    )
