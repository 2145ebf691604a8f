"""JSON schemas that clients send, held to what an engine can make a grammar of in good time.

llama.cpp turns a schema into a grammar and follows every way on through it with every token. Some
small schemas have so many ways on that it never comes back, and nobody else is answered meanwhile
(measured on two cores: 2,000 members of an enum or ``^(a?){1000}…$``, no token within 8 s; ``a?``
98 times over, 4 s a token; 50,000 levels end the process; ``^a{5,1}$``, whose bounds are the wrong
way round, took a gigabyte every ten seconds until it ended). So what may explode is refused before
an engine sees it; `alternatives` counts those that references make.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

from undercroft.serve.wire import alternatives
from undercroft.serve.wire.failures import invalid

MAX_DEPTH = 32
MAX_NODES = 2_000  # schemas, names of properties and members of enums together
MAX_ENUM = 200
MAX_OPTIONAL = 60  # properties of one object that may be left out: each may be followed by any
MAX_REPEATS = 1_000  # maxItems and the like, and bounds within patterns
MAX_LITERALS = 50_000  # characters of texts in it, which the engine has to match letter by letter
MAX_PATTERN = 200
MAX_QUANTIFIERS = 20  # of one pattern

_UNTRANSLATED = ("$dynamicRef", "unevaluatedProperties", "unevaluatedItems")
_COUNTS = ("minItems", "maxItems")
_PAIRS = (("minItems", "maxItems"), ("minLength", "maxLength"), ("minimum", "maximum"))
_BOUNDS = re.compile(r"\{(\d*),?(\d*)\}")
_ATOM = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]")
_REPEATED_GROUP = re.compile(r"\)[*+{]")


def check(schema: Any, param: str) -> None:
    """Raise `HttpError` 400 naming ``param`` for a schema that is too much for a grammar."""
    literals = 0
    for nodes, (depth, node) in enumerate(_walk(schema), start=1):
        if depth > MAX_DEPTH:
            raise _too_much(param, f"It is nested deeper than {MAX_DEPTH} levels.")
        if nodes > MAX_NODES:
            raise _too_much(param, f"It has more than {MAX_NODES:,} parts.")
        if isinstance(node, str):
            literals += len(node)
        if isinstance(node, dict):
            literals += sum(map(len, node))
            _check_node(node, param)
        if literals > MAX_LITERALS:
            raise _too_much(param, f"Its texts have more than {MAX_LITERALS:,} characters.")
    if isinstance(schema, dict):
        try:
            alternatives.check(schema)
        except alternatives.TooManyWays as error:
            raise _too_much(param, str(error)) from None


def _walk(schema: Any) -> Iterator[tuple[int, Any]]:
    """Every value in ``schema`` with its depth, without recursion: it may be deep on purpose."""
    waiting = [(0, schema)]
    while waiting:
        depth, node = waiting.pop()
        yield depth, node
        children = node.values() if isinstance(node, dict) else node
        if isinstance(node, dict | list) and depth <= MAX_DEPTH:
            waiting += [(depth + 1, child) for child in children]


def _check_node(node: dict[str, Any], param: str) -> None:
    for name in _UNTRANSLATED:
        if name in node:
            raise _too_much(param, f"{name} cannot be made into a grammar.")
    enum = node.get("enum")
    if isinstance(enum, list) and len(enum) > MAX_ENUM:
        raise _too_much(param, f"An enum has {len(enum):,} members; {MAX_ENUM} are allowed.")
    properties, required = node.get("properties"), node.get("required")
    if isinstance(properties, dict):
        optional = len(properties) - len(required if isinstance(required, list) else ())
        if optional > MAX_OPTIONAL:
            raise _too_much(
                param, f"An object has {optional} optional properties; {MAX_OPTIONAL} are allowed."
            )
    _check_bounds(node, param)
    pattern = node.get("pattern")
    if isinstance(pattern, str):
        _check_pattern(pattern, param)


def _check_bounds(node: dict[str, Any], param: str) -> None:
    for name in _COUNTS:
        count = node.get(name)
        if isinstance(count, int | float) and count > MAX_REPEATS:
            raise _too_much(param, f"{name} is {count}; {MAX_REPEATS:,} is the most.")
    for least, most in _PAIRS:
        if _reversed(node.get(least), node.get(most)):
            raise invalid(param, f"{least} is more than {most}.")


def _reversed(least: Any, most: Any) -> bool:
    return isinstance(least, int | float) and isinstance(most, int | float) and least > most


def _check_pattern(pattern: str, param: str) -> None:
    """Refuse long patterns, large bounds, and repeated groups that hold a repeat themselves."""
    if len(pattern) > MAX_PATTERN:
        raise _too_much(param, f"A pattern is longer than {MAX_PATTERN} characters.")
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise invalid(param, f"The pattern {pattern[:60]!r} cannot be read: {error}.") from None
    plain = _ATOM.sub("a", pattern)
    if len(re.findall(r"[*+?{]", plain)) > MAX_QUANTIFIERS:
        raise _too_much(param, f"A pattern has more than {MAX_QUANTIFIERS} quantifiers.")
    bounds = [int(number) for found in _BOUNDS.findall(plain) for number in found if number]
    if sum(bounds) > MAX_REPEATS:
        raise _too_much(param, f"A pattern's bounds add up to more than {MAX_REPEATS:,}.")
    for end in _REPEATED_GROUP.finditer(plain):
        if re.search(r"[*+?}]", _group_before(plain, end.start())):
            raise _too_much(param, "A pattern repeats a group that has a repeat in it.")


def _group_before(pattern: str, end: int) -> str:
    """What stands in the group that closes at ``end``, without the ``?:`` of one that is unnamed"""
    open_groups = 0
    for at in range(end, -1, -1):
        open_groups += {")": 1, "(": -1}.get(pattern[at], 0)
        if not open_groups:
            return pattern[at + 1 : end].removeprefix("?:")
    return ""


def _too_much(param: str, why: str) -> Exception:
    return invalid(param, f"The schema is too much for a grammar. {why}")
