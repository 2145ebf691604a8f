"""The policy: rules over signals that say which documents a dataset keeps, and what it masks.

Rules are data. The first that holds for a document names the reason for its removal, together with
the value that was measured. Duplicates come last, and only go when what they duplicate stays.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from undercroft.settings import CurateSettings

Test = Literal["<", ">", ">=", "not in"]
Threshold = float | str | tuple[str, ...]

_TESTS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": lambda value, threshold: value < threshold,
    ">": lambda value, threshold: value > threshold,
    ">=": lambda value, threshold: value >= threshold,
    "not in": lambda value, threshold: value not in threshold,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Documents whose ``signal`` passes ``test`` against ``threshold`` are removed.

    ``copy_of`` names the column with the document that this one repeats; the rule then holds only
    while that one is kept.
    """

    name: str
    signal: str
    test: Test
    threshold: Threshold
    copy_of: str = ""

    def holds(self, row: Mapping[str, Any]) -> bool:
        value = row[self.signal]
        return value is not None and _TESTS[self.test](value, self.threshold)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of one document; ``rule`` and ``value`` are empty when it is kept."""

    kept: bool
    rule: str = ""
    value: str = ""


def rules_of(settings: CurateSettings) -> tuple[Rule, ...]:
    """The rules that ``settings`` ask for, in the order they are tried."""
    languages = (
        (Rule("language", "language", "not in", (*settings.languages, "und")),)
        if settings.languages
        else ()
    )
    return (
        Rule("too_short", "num_chars", "<", settings.min_chars),
        Rule("too_long", "num_chars", ">", settings.max_chars),
        *languages,
        *(rule for name in settings.heuristics for rule in _published(name)),
        Rule("symbols", "symbol_ratio", ">", settings.max_symbol_ratio),
        Rule("repeated_lines", "duplicate_line_ratio", ">", settings.max_duplicate_line_ratio),
        Rule("repeated_ngrams", "top_ngram_ratio", ">", settings.max_top_ngram_ratio),
        Rule("secrets", "num_secrets", ">", settings.max_secrets),
        Rule(
            "near_duplicate",
            "near_duplicate_jaccard",
            ">=",
            settings.near_duplicate_jaccard,
            "near_duplicate_of",
        ),
        Rule("contained", "near_duplicate_containment", ">=", 1.0, "near_duplicate_of"),
        Rule("exact_duplicate", "exact_duplicate_of", ">", "", "exact_duplicate_of"),
    )


def _published(name: str) -> Iterator[Rule]:
    """The limits of a published filter as rules, in its order."""
    from undercroft.curate.heuristics.policies import POLICIES

    for limit in POLICIES[name]:
        if limit.least > -math.inf:
            yield Rule(f"{name}.{limit.column}", limit.column, "<", limit.least)
        if limit.most < math.inf:
            yield Rule(f"{name}.{limit.column}", limit.column, ">", limit.most)


def digest_of(rules: Sequence[Rule], mask: Sequence[str]) -> str:
    """SHA-256 of the policy in canonical JSON: the same rules are the same policy."""
    policy = {"rules": [asdict(rule) for rule in rules], "mask": sorted(mask)}
    return hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()


def judge(rows: Sequence[Mapping[str, Any]], rules: Sequence[Rule]) -> dict[str, Verdict]:
    """The verdict on every document, by id; ``rows`` hold the signals that the rules name."""
    verdicts = {row["id"]: Verdict(kept=True) for row in rows}
    for rule in rules:
        for row in rows:
            document = row["id"]
            if verdicts[document].kept and rule.holds(row) and _original_stays(rule, row, verdicts):
                verdicts[document] = Verdict(False, rule.name, _shown(row[rule.signal]))
    return verdicts


def _original_stays(rule: Rule, row: Mapping[str, Any], verdicts: Mapping[str, Verdict]) -> bool:
    """Whether what ``row`` repeats is kept, or went because something kept repeats it in turn."""
    if not rule.copy_of:
        return True
    original = verdicts.get(row[rule.copy_of])
    return original is not None and (original.kept or original.rule in _COPIES)


_COPIES: Final = frozenset({"near_duplicate", "contained"})


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
