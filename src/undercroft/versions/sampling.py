"""Shares of groups, and which documents fill them; arithmetic alone, no I/O.

Sizes are characters. What is drawn depends on the seed, on the ids and on the sizes, and not on
the order of rows. A larger size to aim at takes what the smaller one took, and more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GOLDEN: Final = 0x9E3779B97F4A7C15  # the increment of SplitMix64 (Steele et al. 2014)


def shares(
    sizes: Mapping[str, int], temperature: float, weights: Mapping[str, float]
) -> dict[str, float]:
    """The share of each group: its share of all to the power of 1/T, times its weight.

    Temperature as in mT5 (Xue et al. 2021, whose alpha is 1/T). They add up to 1, or are all 0
    where nothing is left to take.
    """
    total = sum(sizes.values())
    scores = {
        name: (size / total) ** (1 / temperature) * weights.get(name, 1.0) if size else 0.0
        for name, size in sizes.items()
    }
    whole = sum(scores.values())
    return {name: score / whole if whole else 0.0 for name, score in scores.items()}


def budgets(
    sizes: Mapping[str, int], wanted: Mapping[str, float], chars: int, max_epochs: int
) -> dict[str, float]:
    """The characters that each group gives so that all give ``chars``.

    No group gives itself more than ``max_epochs`` times; what it cannot give is shared among the
    others in their proportions. No group ever gives less when ``chars`` grows.
    """
    names = sorted(
        (name for name in sizes if wanted[name]), key=lambda each: sizes[each] / wanted[each]
    )
    rest = [0.0]  # the shares of the groups from each on
    for name in reversed(names):
        rest.append(rest[-1] + wanted[name])
    given, left = dict.fromkeys(sizes, 0.0), float(chars)
    for name, whole in zip(names, reversed(rest[1:]), strict=True):
        given[name] = min(left * wanted[name] / whole, float(max_epochs * sizes[name]))
        left -= given[name]
    return given


def base_keys(ids: Iterable[str], seed: int) -> NDArray[np.uint64]:
    """The keyed hash of each id, from which those of its epochs are made."""
    import numpy as np

    key = hashlib.sha256(str(seed).encode()).digest()
    digests = (hashlib.blake2b(each.encode(), digest_size=8, key=key).digest() for each in ids)
    return np.fromiter((int.from_bytes(each, "little") for each in digests), np.uint64)


def draw(
    keys: NDArray[np.uint64],
    chars: NDArray[np.int64],
    groups: NDArray[np.int64],
    given: Sequence[float],
    max_epochs: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whole documents that fill what each group gives: their rows and epochs, shuffled.

    Rows are sorted by id, so that equal keys change nothing. A group takes its documents in the
    order of their keys in the first epoch, then, when it has had all, in that of the second. One
    is taken when its middle is within the budget: no group is off by more than half a document.
    """
    import numpy as np

    by_group = np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[by_group], np.arange(len(given)), side="right")
    rows, epochs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for members, budget in zip(np.split(by_group, ends[:-1]), given, strict=True):
        full = int(chars[members].sum())
        for epoch in range(1, max_epochs + 1):
            before = (epoch - 1) * full
            if before >= budget:
                break
            ranked = members[np.argsort(_mixed(keys[members], 2 * epoch), kind="stable")]
            sizes = chars[ranked]
            taken = ranked[before + np.cumsum(sizes) - sizes / 2 <= budget]
            rows.append(taken)
            epochs.append(np.full(len(taken), epoch, np.int64))
    return _shuffled(keys, np.concatenate(rows), np.concatenate(epochs))


def _shuffled(
    keys: NDArray[np.uint64], rows: NDArray[np.int64], epochs: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By other keys than they were drawn by: else what small draws take too would come first."""
    import numpy as np

    order = np.lexsort((epochs, rows, _mixed(keys[rows], 2 * epochs + 1)))
    return rows[order], epochs[order]


def _mixed(keys: NDArray[np.uint64], number: int | NDArray[np.int64]) -> NDArray[np.uint64]:
    """The ``number``-th output of SplitMix64 from each key."""
    import numpy as np

    step = np.asarray(number, np.uint64)
    with np.errstate(over="ignore"):
        mixed: NDArray[np.uint64] = keys + step * np.uint64(_GOLDEN)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed
