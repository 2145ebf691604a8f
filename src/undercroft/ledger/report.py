"""Runs as one HTML page that stands alone: facts, a picture of every metric, and what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from undercroft.ledger import plots, strips
from undercroft.ledger.compare import Curve, Side, ordered, rows, settings
from undercroft.ledger.marks import Mark

#: What is measured on what was held out is drawn in one picture with what training measures.
_HELD_OUT: Final = "heldout_"
_PARTS: Final = ("passes", "update", "draw", "checkpoint", "heldout", "observe")
_COSTS: Final = ("tokens_per_s", "mfu", "energy_j", "memory_mb", "device_mb")
_TITLES: Final[Mapping[str, tuple[str, str]]] = {
    "lr": ("learning rate", ""),
    "tokens_per_s": ("tokens a second", "tok/s"),
    "mfu": ("model FLOPs, as a share of the measured matmul peak", ""),
    "energy_j": ("energy of a step", "J"),
    "memory_mb": ("memory", "MB"),
    "device_mb": ("memory of the device", "MB"),
}
_STYLE: Final = (
    """
:root{--ink:#1d2327;--soft:#66707a;--paper:#ffffff;--line:#d5dbe0}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaed;--soft:#98a3ad;--paper:#171c20;
--line:#3a444c}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:84rem;
margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0 2rem}
th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
th{font-weight:600;color:var(--soft)}
td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.pictures{display:flex;flex-wrap:wrap;gap:1.5rem}
.note{color:var(--soft);max-width:60rem}
figure{margin:0;width:640px;max-width:100%}
figcaption{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-weight:600}
figcaption span{font-weight:400;color:var(--soft)}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
"""
    + plots.STYLE
)


def as_html(sides: Sequence[Side]) -> str:
    """The page. Raises `BadInput` as `compare.rows` does."""
    title = " and ".join(each.name for each in sides)
    heads = "".join(f"<th>{_key(at)}{escape(each.name)}</th>" for at, each in enumerate(sides))
    body = "".join(_row(name, values) for name, values in rows(sides))
    chosen = "".join(_row(name, values) for name, values in settings(sides))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="color-scheme" content="light dark">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(sides[0].run.stage)}: {escape(title)}</h1>"
        f"<table><tr><th></th>{heads}</tr>{body}</table>"
        f"{_noticed(sides)}{_learning(sides)}{_costs(sides)}{_inside(sides)}"
        f"<h2>Settings</h2><table><tr><th></th>{heads}</tr>{chosen}</table></html>\n"
    )


def _learning(sides: Sequence[Side]) -> str:
    """What steps measured of the model."""
    names = ordered({name for each in sides for name in each.curves})
    hidden = {*_COSTS, *(f"{part}_s" for part in _PARTS), *(_HELD_OUT + name for name in names)}
    shown = [name for name in names if name not in hidden]
    return _section("Learning", "".join(_figure(sides, name) for name in shown))


def _costs(sides: Sequence[Side]) -> str:
    """Speed, memory, energy, and where the time went."""
    shown = [name for name in _COSTS if any(name in each.curves for each in sides)]
    drawn = [_figure(sides, name) for name in shown]
    for each in sides:
        parts = _parts(each.curves)
        if parts:
            keys = "".join(f"<span>{_key(at)}{part}</span>" for at, part in enumerate(parts))
            title = "where a step's time goes" + (f": {each.name}" if len(sides) > 1 else "")
            picture = plots.stacked(parts, title, "s")
            drawn.append(_captioned(f"{escape(title)} {keys}", picture))
    return _section("Cost", "".join(drawn))


def _inside(sides: Sequence[Side]) -> str:
    """Strips of what was seen inside each model."""
    drawn = "".join(
        _captioned(
            escape(strip.title + (f": {each.name}" if len(sides) > 1 else "")), strips.drawn(strip)
        )
        for each in sides
        for strip in strips.strips_of(each.looks)
    )
    note = (
        '<p class="note">A column for each look, a row for each block, the last one at the top; '
        "or a row for each power of two of the size of numbers. Gradients are before clipping. "
        "Of large models a sample of the numbers was looked at.</p>"
    )
    return _section("Inside the model", drawn, note)


def _noticed(sides: Sequence[Side]) -> str:
    """A row for each thing that happened at a step, with the documents of its batch."""
    found = [(each, mark) for each in sides for mark in each.marks]
    if not found:
        return ""
    body = "".join(
        f"<tr><td>{mark.step:,}</td>"
        f"<td>{_key(sides.index(each)) if len(sides) > 1 else ''}{escape(mark.words)}</td>"
        f"<td>{escape(mark.why)}</td>{_names(mark)}</tr>"
        for each, mark in found
    )
    heads = "<tr><th>step</th><th>what</th><th>why</th><th>documents of the batch</th></tr>"
    return f"<h2>What deserved notice</h2><table>{heads}{body}</table>"


def _names(mark: Mark) -> str:
    return f'<td title="{escape(", ".join(mark.names))}">{escape(mark.shown_names)}</td>'


def _figure(sides: Sequence[Side], metric: str) -> str:
    """A picture of one metric of all sides, and of what is drawn with it."""
    lines: list[plots.Line] = []
    for at, each in enumerate(sides):
        lines += [
            plots.Line(each.curves[name], at, is_dashed=name != metric)
            for name in (metric, _HELD_OUT + metric)
            if name in each.curves
        ]
    title, unit = _TITLES.get(metric, (metric.replace("_", " "), ""))
    with_others = any(line.is_dashed for line in lines)
    legend = "<span>— in training</span><span>- ● - held out</span>" if with_others else ""
    if len(sides) > 1:
        legend += "".join(
            f"<span>{_key(at)}{escape(each.name)}</span>" for at, each in enumerate(sides)
        )
    marks = sides[0].marks if len(sides) == 1 else ()
    return _captioned(escape(title) + legend, plots.picture(lines, metric, unit, marks))


def _parts(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Seconds of each part of a step at the same steps; 0 where a part did not happen."""
    main = curves.get("passes_s")
    if main is None:
        return {}
    found: dict[str, Curve] = {}
    for part in _PARTS:
        curve = curves.get(f"{part}_s")
        if curve is not None:
            known = dict(zip(curve.steps, curve.values, strict=True))
            values = [known.get(step, 0.0) for step in main.steps]
            found[part] = Curve(main.steps, main.minutes, values)
    return found


def _section(title: str, pictures: str, note: str = "") -> str:
    if not pictures:
        return ""
    return f'<h2>{title}</h2>{note}<div class="pictures">{pictures}</div>'


def _captioned(caption: str, picture: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{picture}</figure>"


def _key(number: int) -> str:
    return f'<span class="key" style="background:{plots.colour(number)}"></span>'


def _row(name: str, values: Sequence[str]) -> str:
    cells = "".join(f"<td>{escape(value)}</td>" for value in values)
    return f"<tr><th>{escape(name)}</th>{cells}</tr>"
