"""What a rule is, and how rules are run over a text.

A rule looks at one unit (`units`) by itself. Most text holds nothing that any rule could find, so
a cheap pass first marks the lines that hold a necessary sign of one: some literals, found together
(`signs`), and one pattern for what is made of digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from undercroft.detect import units
from undercroft.detect.disguises import Reading, reading
from undercroft.detect.signs import Signs, folded
from undercroft.detect.units import Unit
from undercroft.records import Finding

Spans = Iterable[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Rule:
    """Finds one ``kind`` within a unit.

    ``sign`` is found in every unit that holds a finding and in few others; ``search`` then gives
    the spans, relative to the unit. ``score`` is how sure a hit is, from 0 to 1.
    """

    kind: str
    name: str
    sign: re.Pattern[str]
    search: Callable[[str], Spans]
    score: float


#: In lower case. Every finding that is not told by `_NUMERIC` has one of these in its unit.
_LITERALS: Final = (
    "@",
    "passw",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "access-key",
    "accesskey",
    "auth_key",
    "credential",
    "private key",
    "akia",
    "asia",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xox",
    "hooks.slack.com",
    "aiza",
    "k_live_",
    "k_test_",
    "whsec_",
    "sk-",
    "uc-",
    "hf_",
    "eyj",
)
#: Seven digits with at most two separators between each (phone, card, SSN, IBAN), a dotted quad,
#: colon-separated hex (IPv6 of 2000::/3, MAC), the beginning of an IBAN.
_NUMERIC: Final = re.compile(
    r"[0-9](?:[ .\-/()\u00a0]{0,2}[0-9]){6}"
    r"|[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
    r"|[23][0-9A-Fa-f]{3}:"
    r"|[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]"
    r"|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4}"
)
#: What `_NUMERIC` finds by its first digit, which is found much quicker, but for hex between
#: separators, which may have none and is found by these.
_DIGITS: Final = re.compile(
    r"[0-9](?:"
    r"(?:[ .\-/()\u00a0]{0,2}[0-9]){6}"
    r"|\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
    r"|(?<=[23])[0-9A-Fa-f]{3}:"
    r"|(?<=[A-Z]{2}[0-9])[0-9] ?[A-Z0-9]{4} ?[A-Z0-9]{4}"
    r")"
)
_HEX: Final = re.compile(r"[:-](?<=[0-9A-Fa-f]{2}.)[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]")
_SIGNS: Final = Signs([_LITERALS])
_SIGN: Final = re.compile(
    _NUMERIC.pattern + "|(?i:" + "|".join(re.escape(literal) for literal in _LITERALS) + ")"
)


def may_hold(text: str) -> bool:
    """Whether any rule could find something in ``text``; False is certain, True is not."""
    if _SIGNS.occur_in(folded(text)):
        return True
    return _DIGITS.search(text) is not None or _HEX.search(text) is not None


def find(text: str, rules: Iterable[Rule]) -> list[Finding]:
    """All findings of ``rules`` in ``text`` as it reads (`disguises`), by position."""
    chosen, read = tuple(rules), reading(text)
    findings: list[Finding] = []
    for start, end in _marked_lines(read.text):
        found, _ = find_in_units(read.text, units.split(read.text, start, end), chosen)
        findings += found
    return placed(findings, read)


def placed(findings: Iterable[Finding], read: Reading) -> list[Finding]:
    """``findings`` in what was ``read``, at their places in the original text."""
    if not read.gaps:
        return list(findings)
    return [
        Finding(each.kind, read.start(each.start), read.end(each.end), each.score, each.rule)
        for each in findings
    ]


def find_in_units(
    text: str, pieces: Iterable[Unit], rules: tuple[Rule, ...], going_on: Finding | None = None
) -> tuple[list[Finding], Finding | None]:
    """The findings in the units ``pieces`` of ``text``, by position.

    ``going_on`` is a finding that reached the cut end of the unit just before: it covers the rest
    of that run of characters too. The second result is the same for the unit after these.
    """
    findings: list[Finding] = []
    last_end = 0
    for piece in pieces:
        start, end, _, cut = piece
        found = _in_unit(text[start:end], start, rules) if _SIGN.search(text, start, end) else []
        if going_on is not None and start == last_end:
            rest = min(units.run_end(text, start), end)
            found.append(Finding(going_on.kind, start, rest, going_on.score, going_on.rule))
        found.sort(key=lambda finding: (finding.start, -finding.end))
        going_on = next((each for each in found if each.end == end), None) if cut else None
        last_end = end
        findings += found
    return findings, going_on


def _in_unit(unit: str, offset: int, rules: tuple[Rule, ...]) -> list[Finding]:
    """The findings in a unit.

    What lies beside a finding is looked at again by itself: with that masked, a value may begin or
    end where it could not before, as the second of two addresses without a space between them.
    """
    findings: list[Finding] = []
    waiting = [(0, len(unit))]
    while waiting:
        first, last = waiting.pop()
        found = _in_piece(unit[first:last], offset + first, rules)
        findings += found
        if found:
            for start, end in _beside(found, offset, (first, last)):
                waiting += [
                    (start + each.start, start + each.end) for each in units.split(unit[start:end])
                ]
    return findings


def _in_piece(piece: str, offset: int, rules: tuple[Rule, ...]) -> list[Finding]:
    return [
        Finding(rule.kind, offset + start, offset + end, rule.score, rule.name)
        for rule in rules
        if rule.sign.search(piece)
        for start, end in rule.search(piece)
    ]


def _beside(found: list[Finding], offset: int, whole: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """What of the stretch ``whole`` of a unit at ``offset`` the findings leave."""
    at, last = whole
    for start, end in sorted((each.start - offset, each.end - offset) for each in found):
        if start > at:
            yield at, start
        at = max(at, end)
    if at < last:
        yield at, last


def _marked_lines(text: str) -> Iterator[tuple[int, int]]:
    """Ranges of whole lines that may hold a finding, in order, none twice."""
    key = text.find("-----BEGIN")
    if key >= 0 and text.find("PRIVATE KEY", key) >= 0:  # the only finding that spans lines
        first = text.rfind("\n", 0, key) + 1
        yield from _marked_lines(text[:first])
        yield first, len(text)
        return
    starts: set[int] = set()
    for at in _signs(text):
        starts.add(text.rfind("\n", 0, at) + 1)
    for start in sorted(starts):
        end = text.find("\n", start)
        yield start, len(text) if end < 0 else end


def _signs(text: str) -> Iterator[int]:
    """Positions of signs, at least one in every line that has any."""
    yield from _SIGNS.places(folded(text)).get(0, ())
    yield from _numbers(text)


def _numbers(text: str) -> Iterator[int]:
    """Positions of what `_NUMERIC` finds, at least one in every line that has any."""
    at = 0
    while at >= 0 and (found := _DIGITS.search(text, at)) is not None:
        yield found.start()
        at = text.find("\n", found.start())
    for match in _HEX.finditer(text):
        yield match.start()


def every(
    pattern: re.Pattern[str], unit: str, is_real: Callable[[str], bool], group: int | str = 0
) -> Iterator[tuple[int, int]]:
    """The spans of ``pattern`` in ``unit`` whose text passes ``is_real``.

    A match that does not pass uses up one character only, so that a real one which begins inside
    it is still found.
    """
    at = 0
    while (match := pattern.search(unit, at)) is not None:
        if is_real(match[group]):
            yield match.span(group)
            at = max(match.end(), at + 1)
        else:
            at = match.start() + 1
