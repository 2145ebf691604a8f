"""Small pieces: badges, facts, figures, commands, and what stands where there is nothing yet."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from undercroft.console import figures
from undercroft.console.markup import Child, Markup, h
from undercroft.records import Progress

_STATUS = {
    "running": ("live", "Running"),
    "finished": ("good", "Finished"),
    "failed": ("bad", "Failed"),
    "cancelled": ("", "Cancelled"),
}


def status(name: str) -> Markup:
    """A run's status as a mark and a word, never a colour alone."""
    tone, word = _STATUS.get(name, ("", name.capitalize()))
    return badge(word, tone)


def badge(word: str, tone: str = "") -> Markup:
    """``tone`` is one of good, bad, warn, live, or nothing for neutral."""
    return h("span", word, class_=f"badge {tone}".strip())


def tag(word: str, tone: str = "") -> Markup:
    return h("span", word, class_=f"tag {tone}".strip())


def when(moment: datetime | None) -> Markup:
    """An age, with the exact moment on hovering."""
    if moment is None:
        return h("span", "–", class_="when")
    return h(
        "time",
        figures.ago(moment),
        class_="when",
        datetime=figures.aware(moment).isoformat(),
        title=figures.clock(moment),
    )


def facts(rows: Iterable[tuple[str, Child]], wide: bool = False) -> Markup:
    """Names and values, in two columns if ``wide``; rows without a value are left out."""
    return h(
        "dl",
        [(h("dt", name), h("dd", value)) for name, value in rows if value not in (None, "")],
        class_="facts wide" if wide else "facts",
    )


def figure_row(rows: Iterable[tuple[str, str, str | None]]) -> Markup:
    """A row of ``(value, what it is, link)``."""
    return h(
        "div",
        [
            h("a", h("b", value), h("span", name), class_="figure", href=link)
            if link
            else h("div", h("b", value), h("span", name), class_="figure")
            for value, name, link in rows
        ],
        class_="figures",
    )


def command(line: str) -> Markup:
    """A command to copy into a terminal."""
    return h(
        "span",
        h("code", line),
        h("button", "Copy", type="button", data_copy=line, aria_label=f"Copy {line}"),
        class_="command",
    )


def act(word: str, name: str, question: str = "", value: str = "", tone: str = "") -> Markup:
    """A button that does ``name`` of its page's acts, once ``question`` is answered with yes."""
    return h(
        "button",
        word,
        type="button",
        class_=f"button {tone}".strip(),
        data_act=name,
        data_value=value,
        data_question=question or None,
    )


def empty(sentence: Child, next_command: str | None = None) -> Markup:
    """What stands where nothing is yet: why, and the command that changes it."""
    return h(
        "div",
        h("p", sentence),
        command(next_command) if next_command else None,
        class_="empty",
    )


def progress(at: Progress, left_s: float | None) -> Markup:
    """How far a running stage is; a total of None draws a bar that claims nothing."""
    share = min(1.0, at.done / at.total) if at.total else None
    words = f"{figures.count(at.done)}" + (f" of {figures.count(at.total)}" if at.total else "")
    remaining = f"about {figures.seconds(left_s)} left" if left_s is not None else ""
    bar = h(
        "div",
        h("i", style=None if share is None else f"width:{share * 100:.1f}%"),
        class_="track unknown" if share is None else "track",
        role="progressbar",
        aria_label="Progress",
        aria_valuemin=0,
        aria_valuemax=100,
        aria_valuenow=None if share is None else round(share * 100),
    )
    text = " · ".join(part for part in (f"{words} {at.unit}".strip(), at.note) if part)
    below = h("div", h("span", text), h("span", remaining), class_="words")
    return h("div", bar, below, class_="progress")


def silence(seconds: float | None) -> Markup | None:
    """That a running stage has said nothing for a while, and what to do about it."""
    if seconds is None:
        return None
    words = f"Nothing was heard from it for {figures.seconds(seconds)}. If it died, "
    again = "the same command goes on where it stopped."
    return h("p", badge(words + again, "warn"), class_="silence")
