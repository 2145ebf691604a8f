"""Runs side by side: what they were given, what it cost, what came of it, and their curves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from undercroft.errors import BadInput, NotFound
from undercroft.ledger.marks import Mark, marks_of
from undercroft.ledger.observed import Look, path_of, read
from undercroft.records import Run

if TYPE_CHECKING:
    from undercroft.ledger import Ledger

METRICS: Final = ("loss", "heldout_loss", "token_accuracy", "grad_norm", "lr", "tokens_per_s")
"""What is shown first, in this order; all else that was measured follows by name."""

_NO_METRIC: Final = ("step", "tokens", "examples")
_MORE_IS_BETTER: Final = ("accuracy", "tokens_per_s", "mfu", "margin")
_LESS_IS_BETTER: Final = ("loss", "_s", "memory_mb", "device_mb", "energy_j", "perplexity")
Happened = tuple[datetime, str, Mapping[str, Any]]
"""An event of a run: when, kind, detail."""

_ALIKE: Final = 0.0005  # a change that would be said as 0.0 or 0.1 %
_WHOLE: Final = 1000.0  # from here on fractions say nothing


@dataclass(frozen=True, slots=True)
class Curve:
    """What one metric was at ``steps``, and how many ``minutes`` after the run's first."""

    steps: Sequence[int]
    minutes: Sequence[float]
    values: Sequence[float]

    @property
    def end(self) -> float:
        """The mean of the last tenth: single steps are too noisy to compare."""
        tenth = self.values[-max(1, len(self.values) // 10) :]
        return sum(tenth) / len(tenth)


@dataclass(frozen=True)
class Side:
    """One run: ``name`` as it was asked for, what its first output says of itself, its curves by
    metric, how often things happened that deserved notice, those of them that belong to a step,
    and what was seen inside the model."""

    name: str
    run: Run
    meta: Mapping[str, Any]
    curves: Mapping[str, Curve]
    happened: Mapping[str, int]
    marks: Sequence[Mark] = ()
    looks: Sequence[Look] = ()


def side(ledger: Ledger, name: str, state: Path | None = None) -> Side:
    """The run called ``name``: by its id, or by what it made (``model:NAME@3``).

    What was seen inside the model is in the project's folder ``state``. Raises `NotFound` with the
    way to see what there is.
    """
    if ":" in name:
        run = ledger.run_of(name)
    else:
        try:
            run = ledger.run(name)
        except NotFound as error:
            raise NotFound(error.what, error.why, do="List them with: undercroft runs") from None
    events = ledger.events(run.id)
    happened: dict[str, int] = {}
    for _, kind, _ in events:
        if kind != "metric":
            happened[kind] = happened.get(kind, 0) + 1
    meta = ledger.artifact(run.outputs[0]).meta if run.outputs else {}
    looks = read(path_of(state, run.id)) if state is not None else ()
    return Side(name, run, meta, curves_of(events), happened, marks_of(events), looks)


def curves_of(events: Sequence[Happened]) -> dict[str, Curve]:
    """Every metric that the steps of a run measured, the best known first."""
    points = points_of(events)
    curves: dict[str, Curve] = {}
    for metric in ordered({name for _, point in points for name in point}):
        found = [(at, point) for at, point in points if point.get(metric) is not None]
        if found:
            first = found[0][0]
            curves[metric] = Curve(
                [int(point["step"]) for _, point in found],
                [(at - first).total_seconds() / 60 for at, _ in found],
                [float(point[metric]) for _, point in found],
            )
    return curves


def points_of(events: Sequence[Happened]) -> list[tuple[datetime, Mapping[str, Any]]]:
    """What each step measured, by rising steps.

    An attempt that was killed may have taken steps that the next one took again, from a checkpoint
    before them; of those the last counts.
    """
    found: list[tuple[datetime, Mapping[str, Any]]] = []
    for at, kind, detail in events:
        step = detail.get("step")
        if not isinstance(step, int) or kind not in {"metric", "resumed"}:
            continue
        while found and found[-1][1]["step"] >= step + (kind == "resumed"):
            found.pop()
        if kind == "metric":
            found.append((at, detail))
    return found


def ordered(names: Collection[str]) -> list[str]:
    """The metrics among ``names``, in the order in which to show them."""
    known = [name for name in METRICS if name in names]
    return known + sorted(set(names) - {*METRICS, *_NO_METRIC})


def less_is_better(metric: str) -> bool | None:
    """Whether less of it is better; None where neither is, or nobody knows."""
    if any(word in metric for word in _MORE_IS_BETTER):
        return False
    return True if metric.endswith(_LESS_IS_BETTER) else None


def rows(sides: Sequence[Side]) -> list[tuple[str, list[str]]]:
    """What to show of each, as text by name of the row. Settings that are the same are left out.

    Raises `BadInput` for runs of different stages, which have nothing to compare.
    """
    stages = {each.run.stage for each in sides}
    if len(stages) > 1:
        raise BadInput(
            f"Runs of {' and '.join(sorted(stages))} cannot be compared.",
            "They do different things.",
            "Name runs of one stage; see: undercroft runs --stage train",
        )
    found = [
        ("run", [each.run.id for each in sides]),
        ("made", [", ".join(map(str, each.run.outputs)) or each.run.status for each in sides]),
        ("began", [f"{each.run.started_at:%Y-%m-%d %H:%M:%S}" for each in sides]),
        ("wall seconds", [f"{each.run.footprint.wall_s:,.1f}" for each in sides]),
        ("peak memory", [f"{each.run.footprint.peak_rss_bytes / 1e6:,.0f} MB" for each in sides]),
        ("energy", [_energy(each.run) for each in sides]),
    ]
    found += _inputs(sides)
    found += [(name, values) for name, values in settings(sides) if len(set(values)) > 1]
    for metric in ordered({name for each in sides for name in each.curves}):
        found.append((f"{metric} at the end", _ends(sides, metric, less_is_better(metric))))
    for name in sorted({kind for each in sides for kind in each.happened}):
        found.append((name.replace("_", " "), [f"{each.happened.get(name, 0)}" for each in sides]))
    found += _facts(sides)
    return found


def settings(sides: Sequence[Side]) -> list[tuple[str, list[str]]]:
    """Every setting of any of the runs, by name, as text."""
    found = [dict(_flat(each.run.params)) for each in sides]
    names = sorted({name for each in found for name in each})
    return [(name, [_said(each.get(name, "")) for each in found]) for name in names]


def as_dict(each: Side) -> dict[str, Any]:
    """The JSON form of one side."""
    return {
        "name": each.name,
        "run": each.run.id,
        "stage": each.run.stage,
        "status": each.run.status,
        "inputs": [str(ref) for ref in each.run.inputs],
        "outputs": [str(ref) for ref in each.run.outputs],
        "params": dict(each.run.params),
        "wall_s": each.run.footprint.wall_s,
        "energy_wh": each.run.footprint.energy_wh,
        "meta": dict(each.meta),
        "happened": dict(each.happened),
        "end": {name: curve.end for name, curve in each.curves.items()},
        "curves": {
            name: {"step": list(curve.steps), "value": list(curve.values)}
            for name, curve in each.curves.items()
        },
    }


def _flat(params: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """``parallel.processes`` and the like for settings that have settings."""
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{within}{name}.")
        else:
            yield within + name, value


def _inputs(sides: Sequence[Side]) -> list[tuple[str, list[str]]]:
    """What each was made from, by kind and name of the artifact."""
    names = sorted({f"{ref.kind}:{ref.name}" for each in sides for ref in each.run.inputs})
    return [
        (
            f"from {name}",
            [
                next((f"@{r.version}" for r in s.run.inputs if f"{r.kind}:{r.name}" == name), "-")
                for s in sides
            ],
        )
        for name in names
    ]


def _ends(sides: Sequence[Side], metric: str, is_less_better: bool | None) -> list[str]:
    """The last tenth's mean of each, and how far it is from the first one's."""
    first = sides[0].curves.get(metric)
    said: list[str] = []
    for each in sides:
        curve = each.curves.get(metric)
        if curve is None:
            said.append("-")
            continue
        text = _number(curve.end)
        if first is not None and each is not sides[0] and first.end:
            change = curve.end / first.end - 1
            is_better = is_less_better is not None and (change < 0) == is_less_better
            word = "" if is_less_better is None else (" better" if is_better else " worse")
            text += f" ({change:+.1%}{word})" if abs(change) >= _ALIKE else ""
        said.append(text)
    return said


def _facts(sides: Sequence[Side]) -> list[tuple[str, list[str]]]:
    """What the outputs say of themselves, in one word each; of several, where they differ."""
    names = [name for name in sides[0].meta if all(name in each.meta for each in sides)]
    found = [
        (name, [_said(each.meta[name]) for each in sides])
        for name in names
        if isinstance(sides[0].meta[name], int | float | str)
    ]
    return [(name, said) for name, said in found if len(sides) == 1 or len(set(said)) > 1]


def _energy(run: Run) -> str:
    return f"{run.footprint.energy_wh:.3g} Wh, {run.footprint.energy_is}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.4g}"


def _said(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _number(value) if is_number else str(value)
