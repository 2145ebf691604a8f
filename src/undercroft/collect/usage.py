"""What publishers say about the use of their pages, kept beside every document.

Understood are the usage preferences that the IETF's AIPREF group drafts (``Content-Usage``, in an
HTTP header or in robots.txt: draft-ietf-aipref-attach and -vocab), the TDM Reservation Protocol of
the W3C's community group (header, meta element), and ``noai`` and ``noimageai`` among the
directives for robots. One line holds them: ``train-ai=n; tdm-reservation=1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

_DIRECTIVES: Final = frozenset({"noai", "noimageai"})
_TDM: Final = ("tdm-reservation", "tdm-policy")
_ITEM: Final = re.compile(r"[\w-]+=[^\s;,]+")


def told(*signals: Iterable[str]) -> str:
    """All of ``signals``, once each, in one line."""
    found = {signal.strip().lower() for each in signals for signal in each}
    return "; ".join(sorted(found - {""}))


def of_headers(headers: Mapping[str, str]) -> list[str]:
    """The signals in the headers of an HTTP answer, whose names are in lower case."""
    found = _ITEM.findall(headers.get("content-usage", "").replace(" ", ""))
    found += [f"{name}={headers[name].strip()}" for name in _TDM if headers.get(name, "").strip()]
    return found + of_directives(headers.get("x-robots-tag", ""))


def of_directives(directives: str) -> list[str]:
    """The signals among directives for robots (``X-Robots-Tag``, or a meta element's)."""
    words = {word.strip().lower() for word in re.split(r"[,:]", directives)}
    return sorted(words & _DIRECTIVES)


def of_meta(name: str, content: str) -> list[str]:
    """The signals in a meta element."""
    if name in _TDM:
        return [f"{name}={content.strip()}"]
    return of_directives(content) if name == "robots" else []


def of_robots(text: str, path: str, agent: str) -> list[str]:
    """The preferences that robots.txt states for ``path``: of the group for ``agent``, or for all,
    the rule with the longest path (draft-ietf-aipref-attach, section 3.2)."""
    rules = _usage_rules(text)
    own = next((name for name in rules if name != "*" and name in agent.lower()), "*")
    matching = [rule for rule in rules.get(own, []) if path.startswith(rule[0])]
    best = max(matching, key=lambda rule: len(rule[0]), default=("", ""))
    return _ITEM.findall(best[1].lower())


def _usage_rules(text: str) -> dict[str, list[tuple[str, str]]]:
    """Path and preferences of every rule for use, by the agents that it is for."""
    rules: dict[str, list[tuple[str, str]]] = {}
    agents: list[str] = []
    is_in_names = False
    for line in text.splitlines():
        name, _, value = line.partition("#")[0].partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "user-agent":
            agents = [*(agents if is_in_names else []), value.lower()]
        elif name == "content-usage":
            path, _, rest = value.partition(" ") if value.startswith("/") else ("/", "", value)
            for agent in agents or ["*"]:
                rules.setdefault(agent, []).append((path, rest))
        is_in_names = name == "user-agent" or (is_in_names and not name)
    return rules
