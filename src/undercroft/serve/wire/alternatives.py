"""In how many ways a schema may go on at one place, through references and back to itself.

llama.cpp follows all alternatives that the text so far fits. References multiply them: nine lines
of ``anyOf`` with eight references each are 134 million, and took the engine from everybody for
minutes. Where two alternatives both lead back to where they are, they double with every level.
"""

from __future__ import annotations

from typing import Any

MAX_WAYS = 250  # a token took 3 s on two cores where there were 1,000

MAX_REFERENCES = 100  # different ones

_CHOICES = ("anyOf", "oneOf", "allOf")
_MAPS = ("properties", "patternProperties", "dependentSchemas")


class TooManyWays(Exception):
    """Its text says why."""


def check(schema: dict[str, Any]) -> None:
    """Raise `TooManyWays` for a schema, not nested deeply itself, that a grammar cannot bear."""
    ways = _Ways(schema)
    try:
        if ways.of(schema) > MAX_WAYS:
            raise TooManyWays(f"Its alternatives come to more than {MAX_WAYS}.")
    except RecursionError:
        raise TooManyWays("Its references lead too far.") from None
    for name in list(ways.known):
        ways.look_for_doubling(name)


class _Ways:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self.known: dict[str, int] = {}  # by reference; 1 while it is being found out
        self._reached: dict[str, set[str]] = {}
        self._led_to: dict[int, set[str]] = {}  # by what was asked about, all of it in `_root`

    def of(self, node: Any) -> int:
        """At most how many alternatives stand at one place within ``node``."""
        if not isinstance(node, dict):
            return 1
        most = len(node["enum"]) if isinstance(node.get("enum"), list) else 1
        for name, value in node.items():
            if name in _CHOICES and isinstance(value, list):
                most = max(most, min(MAX_WAYS + 1, sum(map(self.of, value))))
            elif name == "$ref":
                most = max(most, self._of_reference(value))
            elif name in ("$defs", "definitions"):
                for each in value.values() if isinstance(value, dict) else ():
                    self.of(each)  # those that nobody refers to are read too
            else:
                most = max([most, *map(self.of, _children(name, value))])
        return most

    def _of_reference(self, reference: Any) -> int:
        name = str(reference)
        if name not in self.known:
            if len(self.known) >= MAX_REFERENCES:
                raise TooManyWays(f"It has more than {MAX_REFERENCES} references.")
            self.known[name] = 1
            self.known[name] = self.of(_at(self._root, name))
        return self.known[name]

    def look_for_doubling(self, name: str) -> None:
        """Raise `TooManyWays` where two alternatives in what ``name`` refers to, which begin alike,
        lead back to it."""
        for node in _nodes(_at(self._root, name)):
            for choice in _CHOICES[:2]:
                back: dict[str, int] = {}
                for each in node.get(choice) or ():
                    if name in self._reaches(each):
                        how = _beginning(self._resolved(each))
                        back[how] = back.get(how, 0) + 1
                if max(back.values(), default=0) > 1:
                    raise TooManyWays("It repeats itself in several ways that begin alike.")

    def _reaches(self, node: Any) -> set[str]:
        """The references in ``node``, and in what they refer to."""
        if id(node) in self._led_to:
            return self._led_to[id(node)]
        found = self._led_to[id(node)] = set()
        waiting = [str(each["$ref"]) for each in _nodes(node) if "$ref" in each]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            if name not in self._reached:
                inner = _nodes(_at(self._root, name))
                self._reached[name] = {str(each["$ref"]) for each in inner if "$ref" in each}
            waiting += self._reached[name] - found
        return found

    def _resolved(self, node: Any) -> Any:
        """``node``, or what it refers to, directly or by way of others."""
        seen: set[str] = set()
        while isinstance(node, dict) and "$ref" in node and str(node["$ref"]) not in seen:
            seen.add(str(node["$ref"]))
            node = _at(self._root, str(node["$ref"]))
        return node


def _children(name: str, value: Any) -> list[Any]:
    """The schemas that the keyword ``name`` holds."""
    if name in ("enum", "const", "default", "examples", "required"):
        return []
    if isinstance(value, dict):
        return list(value.values()) if name in _MAPS else [value]
    return list(value) if isinstance(value, list) else []


def _nodes(node: Any) -> list[dict[str, Any]]:
    """Every object in ``node``, itself included."""
    found, waiting = [], [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            found.append(each)
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return found


def _beginning(node: Any) -> str:
    """What texts of ``node`` begin with, as far as it tells them from others: their type, and of an
    object its first property and, where there is but one, what that is."""
    if not isinstance(node, dict):
        return "?"
    properties = node.get("properties")
    if not isinstance(properties, dict) or not properties:
        return str(node.get("type", "object"))
    first, said = next(iter(properties.items()))
    required = node.get("required")
    if not isinstance(required, list) or first not in required:
        return "object"
    if isinstance(said, dict):
        fixed = said.get("const", said.get("enum") if len(said.get("enum", ())) == 1 else None)
        return f"object {first!r} {fixed!r}"
    return f"object {first!r}"


def _at(root: Any, reference: str) -> Any:
    """What the JSON pointer ``reference`` points to in ``root``; None where nothing is."""
    node = root
    if not reference.startswith("#"):
        return None
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node
