"""How often a rollout is undone without cause, and how soon with one: simulated traffic.

    python -m benchmarks.canary [--trials 4000] [--pairs 4000] [--gateways 1] [--same] [--json]

Both arms get units in turn; every unit of the last pairs is looked at, as the gateway does. Without
a difference (A/A) at most ``rollout.harm_alpha`` of all trials may be rolled back, ever; a measure
has its share of that. The peer is a rule of thresholds, as progressive-delivery controllers have
it: every interval of so many pairs the canary's error rate is compared with a limit, and some
limits broken end the rollout; it is given the limit that a careful user would set, the usual rate
plus two points. With several gateways every unit goes to one by chance, an arm's outcomes reach
the log by the batch, each gateway's in its turn, and are paired in the log's order.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.settings import RolloutSettings
from undercroft.trials.evidence import SHARES
from undercroft.trials.verdict import NUM_MEASURES

RATES = (0.01, 0.05, 0.2)
CHANGES = (0.0, 0.01, 0.02, 0.05)
INTERVAL, STRIKES, SLACK = 60, 3, 0.02  # the peer's: pairs a look, broken limits, above the rate
BLOCK = 100  # trials at once
BATCH = 25  # units of an arm in the time in which each gateway writes to the log once


def outcomes(  # noqa: PLR0917
    draw: np.random.Generator, trials: int, pairs: int, rate: float, change: float, drift: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of the canary and the control, [trials, pairs]; with ``drift`` both rates double and fall
    back in the course of a trial, as on a bad day upstream."""
    rates = np.full(pairs, rate)
    if drift:
        rates = rate * (1 + np.sin(np.linspace(0, 3 * math.pi, pairs)) ** 2)
    worse = np.minimum(rates + change, 1)
    return draw.random((trials, pairs)) < worse, draw.random((trials, pairs)) < rates


def logged(draw: np.random.Generator, found: NDArray[np.bool_], gateways: int) -> NDArray[np.bool_]:
    """An arm's outcomes, [trials, pairs], in the order of the log of so many gateways."""
    met_by = draw.integers(gateways, size=found.shape)
    turn = met_by * (BATCH / gateways)
    written_at = np.ceil((np.arange(found.shape[1]) - turn) / BATCH) * BATCH + turn
    return np.take_along_axis(found, np.argsort(written_at, axis=1, kind="stable"), axis=1)


def ours(canary: NDArray[np.bool_], control: NDArray[np.bool_], alpha: float) -> NDArray[np.int_]:
    """After which pair each trial is rolled back; 0 is never."""
    worse = np.cumsum(canary & ~control, axis=1)
    better = np.cumsum(control & ~canary, axis=1)
    most = np.full(worse.shape, -np.inf)
    for share in SHARES:
        most = np.logaddexp(most, worse * np.log1p(share) + better * np.log1p(-share))
    is_harm = most - math.log(len(SHARES)) >= math.log(1 / alpha)
    return np.where(is_harm.any(axis=1), is_harm.argmax(axis=1) + 1, 0)


def thresholds(canary: NDArray[np.bool_], limit: float) -> NDArray[np.int_]:
    """The same for the peer."""
    intervals = canary[:, : canary.shape[1] // INTERVAL * INTERVAL]
    rates = intervals.reshape(len(canary), -1, INTERVAL).mean(axis=2)
    strikes = np.cumsum(rates > limit, axis=1) >= STRIKES
    return np.where(strikes.any(axis=1), (strikes.argmax(axis=1) + 1) * INTERVAL, 0)


def cells(
    trials: int, pairs: int, seed: int, gateways: int, changes: Sequence[float]
) -> Iterator[Mapping[str, Any]]:
    """One row for each rate, change and drift."""
    alpha = RolloutSettings().harm_alpha / NUM_MEASURES
    draw = np.random.default_rng(seed)
    for drift in (False, True):
        for rate in RATES:
            for change in changes:
                found: dict[str, list[NDArray[np.int_]]] = {"ours": [], "thresholds": []}
                for _ in range(-(-trials // BLOCK)):
                    canary, control = outcomes(draw, BLOCK, pairs, rate, change, drift)
                    found["thresholds"].append(thresholds(canary, rate + SLACK))
                    if gateways > 1:
                        canary, control = (
                            logged(draw, each, gateways) for each in (canary, control)
                        )
                    found["ours"].append(ours(canary, control, alpha))
                yield {
                    "rate": rate,
                    "change": change,
                    "drift": drift,
                    **{name: summary(np.concatenate(each)) for name, each in found.items()},
                }


def summary(ends: NDArray[np.int_]) -> dict[str, Any]:
    """Share of trials rolled back with its 95 % interval (Wilson), and the median pair of them."""
    count, hits = len(ends), int((ends > 0).sum())
    share, z = hits / count, 1.96
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    width = (
        z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    )
    return {
        "rolled_back": round(share, 4),
        "interval": [round(max(0.0, centre - width), 4), round(centre + width, 4)],
        "median_pairs": int(np.median(ends[ends > 0])) if hits else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--same", action="store_true", help="A/A alone")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    changes = CHANGES[:1] if given.same else CHANGES
    found = list(cells(given.trials, given.pairs, given.seed, given.gateways, changes))
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{given.trials} trials of {given.pairs} pairs; looked at after every pair")
    if given.gateways > 1:
        print(f"{given.gateways} gateways with one log")
    print("rate  change  drift   ours: rolled back  median   thresholds: rolled back  median")
    for each in found:
        own, peer = each["ours"], each["thresholds"]
        print(
            f"{each['rate']:4.0%}  {each['change'] * 100:+5.0f}  {each['drift']!s:5}  "
            f"{own['rolled_back']:17.2%}  {own['median_pairs'] or '-':>6}  "
            f"{peer['rolled_back']:23.2%}  {peer['median_pairs'] or '-':>6}"
        )
    worst = max(each["ours"]["interval"][1] for each in found if not each["change"])
    alpha = RolloutSettings().harm_alpha / NUM_MEASURES
    print(f"A/A: at most {worst:.2%} rolled back (upper end of the interval); alpha is {alpha:.2%}")


if __name__ == "__main__":
    main()
