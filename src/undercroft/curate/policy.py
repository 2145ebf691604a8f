"""The policy: rules over signals that say which documents a dataset keeps, and what it masks.

Rules are data. The first that holds for a document names the reason for its removal, together with
the value that was measured. Duplicates come last, and only go when what they duplicate stays: they
are judged by `judge_copies`, all others by columns in `judge`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from undercroft.errors import BadConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from undercroft.settings import CurateSettings

Test = Literal["<", ">", ">=", "not in", "matches", "unlike"]
Threshold = float | str | tuple[str, ...]

#: The comparisons by their names in `pyarrow.compute`.
_COMPARED: Final[Mapping[str, str]] = {"<": "less", ">": "greater", ">=": "greater_equal"}

#: What publishers say that reserves a text against training (`undercroft.collect.usage`).
RESERVED: Final = r"(?:^|; )(?:noai|tdm-reservation=1|(?:train-ai|train-genai|bots)=n)(?:;|$)"


@dataclass(frozen=True, slots=True)
class Rule:
    """Documents whose ``signal`` passes ``test`` against ``threshold`` are removed.

    ``copy_of`` names the column with the document that this one repeats; the rule then holds only
    while that one is kept. Documents of a rule for ``review`` come back when somebody releases them
    (`curate.review`).
    """

    name: str
    signal: str
    test: Test
    threshold: Threshold
    copy_of: str = ""
    review: bool = False

    def holds(self, values: pa.Array) -> NDArray[np.bool_]:
        """For which of the ``values`` of its signal the rule holds; for none that is missing."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.test == "not in":
            found = pc.invert(pc.is_in(values, pa.array(self.threshold, values.type)))
            found = pc.and_(found, pc.is_valid(values))
        elif self.test == "matches":
            found = pc.match_substring_regex(values, self.threshold)
        elif self.test == "unlike":
            globs = self.threshold if isinstance(self.threshold, tuple) else ()
            found = pc.invert(pc.match_substring_regex(values, _like_any(globs), ignore_case=True))
        else:
            found = getattr(pc, _COMPARED[self.test])(values, pa.scalar(self.threshold))
        holds: NDArray[np.bool_] = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        return holds


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of one document; ``rule`` and ``value`` are empty when it is kept."""

    kept: bool
    rule: str = ""
    value: str = ""


def rules_of(settings: CurateSettings) -> tuple[Rule, ...]:
    """The rules that ``settings`` ask for, in the order they are tried.

    Raises `BadConfig` where a rule is to be reviewed that is not among them.
    """
    rules = [*_governing(settings), *_measuring(settings), *_of_copies(settings)]
    unknown = sorted(set(settings.review) - {rule.name for rule in rules})
    if unknown:
        raise BadConfig(
            f"[curate] review names {', '.join(unknown)}, which is no rule of this policy.",
            f"Its rules are {', '.join(rule.name for rule in rules)}.",
            "Name one of them; some exist only where their limit is set.",
        )
    return tuple(replace(rule, review=rule.name in settings.review) for rule in rules)


def _governing(settings: CurateSettings) -> Iterator[Rule]:
    """What may not be used, whatever it is like."""
    if settings.respect_usage:
        yield Rule("usage_reserved", "usage", "matches", RESERVED)
    if settings.licences:
        yield Rule("licence", "licence", "unlike", tuple(settings.licences))
    if settings.decontaminate:
        yield Rule("contaminated", "contaminated_by", ">", "")
    yield Rule("quarantined", "quarantined", "not in", ("",))
    if settings.languages:
        yield Rule("language", "language", "not in", (*settings.languages, "und"))


def _measuring(settings: CurateSettings) -> Iterator[Rule]:
    """Limits on what texts are like."""
    is_ours = settings.policy == "default"
    if is_ours:
        yield Rule("too_short", "num_chars", "<", settings.min_chars)
        yield Rule("too_long", "num_chars", ">", settings.max_chars)
    for name in settings.filters:
        yield from _published(name)
    if is_ours:
        yield Rule("symbols", "symbol_ratio", ">", settings.max_symbol_ratio)
        limit = settings.max_duplicate_line_ratio
        yield Rule("repeated_lines", "duplicate_line_ratio", ">", limit)
        yield Rule("repeated_ngrams", "top_ngram_ratio", ">", settings.max_top_ngram_ratio)
        yield Rule("secrets", "num_secrets", ">", settings.max_secrets)
    if settings.max_pii:
        yield Rule("personal_data", "num_pii", ">", settings.max_pii)
    if settings.remove_malicious:
        yield Rule("malicious", "num_malicious", ">", 0)
    limits = {
        "toxicity": settings.max_toxicity,
        "spam": settings.max_spam,
        "generated": settings.max_generated,
    }
    yield from (Rule(name, name, ">", most) for name, most in limits.items() if most < 1)


def _of_copies(settings: CurateSettings) -> Iterator[Rule]:
    limit = settings.near_duplicate_jaccard
    yield Rule("near_duplicate", "near_duplicate_jaccard", ">=", limit, "near_duplicate_of")
    yield Rule("contained", "near_duplicate_containment", ">=", 1.0, "near_duplicate_of")
    yield Rule("exact_duplicate", "exact_duplicate_of", ">", "", "exact_duplicate_of")
    yield Rule("same_url", "same_url_as", ">", "", "same_url_as")
    if settings.semantics and settings.max_semantic_cosine < 1:
        most = settings.max_semantic_cosine
        yield Rule("semantic_duplicate", "semantic_cosine", ">", most, "semantic_duplicate_of")


def _published(name: str) -> Iterator[Rule]:
    """The limits of a published filter as rules, in its order."""
    from undercroft.curate.heuristics.policies import POLICIES

    for limit in POLICIES[name]:
        if limit.least > -math.inf:
            yield Rule(f"{name}.{limit.column}", limit.column, "<", limit.least)
        if limit.most < math.inf:
            yield Rule(f"{name}.{limit.column}", limit.column, ">", limit.most)


def _like_any(globs: Sequence[str]) -> str:
    """The regular expression of what one of ``globs`` matches as a whole."""
    likes = "|".join(re.escape(glob).replace(r"\*", ".*") for glob in globs)
    return f"^(?:{likes})$"


def digest_of(rules: Sequence[Rule], mask: Sequence[str]) -> str:
    """SHA-256 of the policy in canonical JSON: the same rules are the same policy."""
    policy = {"rules": [asdict(rule) for rule in rules], "mask": sorted(mask)}
    return hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()


def judge(
    signals: pa.Table, rules: Sequence[Rule], released: Collection[str] = ()
) -> dict[str, Verdict]:
    """The documents that ``rules`` remove for what they are themselves, by id.

    ``signals`` has the column ``id`` and the signals that the rules name; rules about copies are
    passed over, as are rules for review on the documents that were ``released``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    is_bound = np.ones(signals.num_rows, np.bool_)
    if released:
        known = pc.is_in(signals["id"], pa.array(sorted(released), signals["id"].type))
        is_bound = ~known.to_numpy()
    undecided = np.ones(signals.num_rows, np.bool_)
    removed: dict[str, Verdict] = {}
    for rule in rules:
        if rule.copy_of:
            continue
        values = signals[rule.signal].combine_chunks()
        judged = undecided & is_bound if rule.review else undecided
        hits = np.flatnonzero(rule.holds(values) & judged)
        undecided[hits] = False
        ids, shown = signals["id"].take(hits).to_pylist(), values.take(hits).to_pylist()
        for document, value in zip(ids, shown, strict=True):
            removed[document] = Verdict(False, rule.name, _shown(value))
    return removed


def judge_copies(
    copies: pa.Table, rules: Sequence[Rule], removed: Mapping[str, Verdict]
) -> dict[str, Verdict]:
    """Those that go since they repeat a document that stays, by id.

    ``copies`` has the columns ``id`` and `schemas.DUPLICATES`; ``removed`` is what `judge` said.
    """
    gone: dict[str, Verdict] = {}
    for rule in (rule for rule in rules if rule.copy_of):
        holding = copies.take(np.flatnonzero(rule.holds(copies[rule.signal].combine_chunks())))
        columns = [holding[name].to_pylist() for name in ("id", rule.copy_of, rule.signal)]
        for document, original, value in zip(*columns, strict=True):
            if document in removed or document in gone or original in removed:
                continue
            if original not in gone or gone[original].rule in _COPIES:
                gone[document] = Verdict(False, rule.name, _shown(value))
    return gone


#: Whoever repeats one of these repeats what that one went for, too.
_COPIES: Final = frozenset({"near_duplicate", "contained", "same_url", "semantic_duplicate"})


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
