"""Text -> units: the pieces that personal data and secrets never straddle.

A unit is a run of token characters, joined to the next run where a finding could go on across
what lies between: the groups of a phone, card or account number, a key and its assigned value,
the lines of a private key. Rules look at one unit at a time and at nothing around it, and where
a unit ends is decided from its beginning and one character past its end. So text screened as it
arrives gives exactly what the whole text gives, however it is cut (`stream`).

Units never cross a line end, private keys excepted.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

#: Longest run of token characters; a longer one is cut, and a finding at the cut goes on after it.
MAX_TOKEN: Final = 2048
#: Longest unit by what joins it, in characters: no finding of the kind is longer.
MAX_NUMBER: Final = 64
MAX_ASSIGNMENT: Final = MAX_TOKEN + 128
MAX_PRIVATE_KEY: Final = 16_384

#: ASCII without space, quotes, brackets, comma, semicolon, backslash, bar and backtick; Latin,
#: Greek and Cyrillic letters (internationalised addresses).
CHARS: Final = r"A-Za-z0-9_@.+%\-/=:~#&?!$^*\u00c0-\u024f\u0370-\u052f"
_TOKEN: Final = re.compile(rf"\(?[{CHARS}]{{1,{MAX_TOKEN}}}\)?")
_RUN: Final = re.compile(rf"\(?[{CHARS}]+")

_NUMBERISH: Final = re.compile(r"\(?\+?[0-9][0-9./-]*\)?")
_COUNTRY: Final = re.compile(r"\+[0-9]{1,3}")  # of a phone number right behind something else
_NUMBER_ENDS: Final = frozenset("0123456789)")
_ACCOUNT: Final = re.compile(r"[A-Z]{2}[0-9]{2}(?: [A-Z0-9]{4})*")

#: Names that a secret is assigned to, in lower case.
KEY_NAMES: Final = (
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "pwd",
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "access-key",
    "accesskey",
    "secret_key",
    "auth_key",
    "credential",
    "credentials",
)
KEY_PATTERN: Final = "(?i:" + "|".join(sorted(KEY_NAMES, key=len, reverse=True)) + ")"
_ASSIGNMENT_END: Final = re.compile(KEY_PATTERN + r"""["']{0,2}[ \t]{0,2}[:=]{1,3}\Z""")
_BEGIN: Final = "-----BEGIN"
_END: Final = "-----END"
_HEADER: Final = re.compile(rf"{_BEGIN}(?: [A-Z0-9]{{1,40}}){{0,8}}")

Joint = Literal["number", "account", "name", "value", "header", "field", "body", "footer"]

_BLANKS: Final = r"""[ \t"']{0,3}"""
#: Between the lines of a private key: line ends, also escaped ones, or the comma of its fields
#: (``DEK-Info: AES-256-CBC,...``).
_LINE_END: Final = r"""(?:,|[\s\\"',]{0,8}[\n\\][\s\\"',]{0,8})"""
#: What lies between a unit and the token that goes on with it, and the first character of that.
_JOINS: Final[dict[Joint, re.Pattern[str]]] = {
    "number": re.compile(r"[ \u00a0]?[0-9(]"),
    "account": re.compile(r" [A-Z0-9]"),
    "name": re.compile(_BLANKS + "[:=]"),
    "value": re.compile(_BLANKS + r"[^(]"),
    "header": re.compile(" [A-Z]"),
    "field": re.compile(f"(?: |{_LINE_END})[A-Za-z0-9+/=-]"),
    "body": re.compile(f"{_LINE_END}[A-Za-z0-9+/=-]"),
    "footer": re.compile(" [A-Z]"),
}
#: Everything that what lies between may begin with.
_MAY_JOIN: Final[dict[Joint, re.Pattern[str]]] = {
    "number": re.compile(r"[ \u00a0]?"),
    "account": re.compile(" ?"),
    "name": re.compile(_BLANKS),
    "value": re.compile(_BLANKS),
    "header": re.compile(" ?"),
    "field": re.compile(r"""[\s\\"',]{0,17}"""),
    "body": re.compile(r"""[\s\\"',]{0,17}"""),
    "footer": re.compile(" ?"),
}


class Unit(NamedTuple):
    """``text[start:end]``; its last token begins at ``last_token`` and is ``cut`` when it ends
    only because it is as long as a token may be."""

    start: int
    end: int
    last_token: int
    cut: bool


def split(text: str, start: int = 0, end: int | None = None) -> list[Unit]:
    """All units of ``text[start:end]``; both ends must be line ends or ends of the text."""
    stop = len(text) if end is None else end
    units, waiting = _scan(text, start, stop)
    return units if waiting is None else [*units, waiting]


def settled(text: str) -> tuple[list[Unit], int]:
    """The units of ``text`` that no further text can change, and where what it can begins."""
    units, waiting = _scan(text, 0, len(text))
    if waiting is not None:
        if _may_go_on(text, waiting):
            return units, waiting.start
        units.append(waiting)
    # A bracket at the very end may belong to the token that follows.
    return units, len(text) - text.endswith("(")


def run_end(text: str, start: int) -> int:
    """Where the run of token characters that begins at ``start`` ends."""
    match = _RUN.match(text, start)
    return match.end() if match else start


def _scan(text: str, start: int, stop: int) -> tuple[list[Unit], Unit | None]:
    """The units of ``text[start:stop]``; the last of them apart, since it may go on after it."""
    units: list[Unit] = []
    keyed = text.find(_BEGIN, start, stop) >= 0
    open_unit: Unit | None = None
    for match in _TOKEN.finditer(text, start, stop):
        at, end = match.span()
        is_cut = end - at >= MAX_TOKEN
        if open_unit is not None:
            joint = _joint(text, open_unit, keyed)
            if joint is not None and _JOINS[joint].fullmatch(text, open_unit.end, at + 1):
                open_unit = Unit(open_unit.start, end, at, is_cut)
                continue
            units.append(open_unit)
        open_unit = Unit(at, end, at, is_cut)
    return units, open_unit


def _may_go_on(text: str, unit: Unit) -> bool:
    """Whether text after ``text`` may make ``unit``, its last, any longer."""
    if unit.end == len(text) and text[-1] != ")":
        return True
    joint = _joint(text, unit, text.find(_BEGIN, unit.start) >= 0)
    if joint is None:
        return False
    between_end = len(text) - text.endswith("(")
    return _MAY_JOIN[joint].fullmatch(text, unit.end, between_end) is not None


def _joint(text: str, unit: Unit, keyed: bool) -> Joint | None:
    """What could join ``unit`` to a token after it; None when nothing could.

    ``keyed`` is false when the text around is known to hold no private key.
    """
    start, end, last_token, _ = unit
    if keyed and (begin := text.find(_BEGIN, start, end)) >= 0:
        return _key_joint(text, begin, unit)
    last = text[end - 1]
    if end - start <= MAX_NUMBER:
        if end - last_token == 4 and _ACCOUNT.fullmatch(text, start, end):
            return "account"
        if last in _NUMBER_ENDS and _is_number(text, last_token, end):
            return "number"
    if end - start <= MAX_ASSIGNMENT:
        if last in ":=":
            return "value" if _ASSIGNMENT_END.search(text, max(start, end - 32), end) else None
        if text[max(last_token, end - 12) : end].lower().endswith(KEY_NAMES):
            return "name"
    return None


def _is_number(text: str, start: int, end: int) -> bool:
    """Whether a token is part of a number, or ends with the country's code of one."""
    if _NUMBERISH.fullmatch(text, start, end):
        return True
    plus = text.rfind("+", max(start, end - 4), end)
    return plus >= 0 and _COUNTRY.fullmatch(text, plus, end) is not None


def _key_joint(text: str, begin: int, unit: Unit) -> Joint | None:
    """How a unit that holds the first line of a PEM block (RFC 7468) goes on."""
    if unit.end - unit.start >= MAX_PRIVATE_KEY:
        return None
    last = text.rfind(_BEGIN, begin, unit.end)
    if text.find("-----", last + len(_BEGIN), unit.end) < 0:
        # Of this key, or of another one right behind one without an end.
        return "header" if _HEADER.fullmatch(text, last, unit.end) else None
    first_line_end = text.find("-----", begin + len(_BEGIN), unit.end)
    while first_line_end >= 0 and text.find("PRIVATE KEY", begin, first_line_end) < 0:
        begin = text.find(_BEGIN, first_line_end, unit.end)  # the first may be there to mislead
        if begin < 0:
            return None
        first_line_end = text.find("-----", begin + len(_BEGIN), unit.end)
    footer = text.find(_END, first_line_end + 5, unit.end)
    if footer < 0:
        return "field" if text[unit.end - 1] == ":" else "body"
    return "footer" if text.find("-----", footer + len(_END), unit.end) < 0 else None
