"""What a question asks that its vector does not tell: the guard of the cache by meaning.

Two questions may lie close together and ask opposite things: one number, a ``not``, ``A to B``
for ``B to A``. `read` takes out of a question what decides (kind, names, numbers, negation, who
does what to whom), and `conflict` says in which of these two questions differ. Rules, English, no
model; what a rule does not understand counts as a difference.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Final

from undercroft.serve.caches.lexicon import (
    DATES,
    IRREGULAR,
    LIGHT,
    NEGATIONS,
    NUMBER_WORDS,
    OPPOSITES,
    PARTICIPLES,
    PHRASES,
    PREPOSITIONS,
    QUANTIFIERS,
    SAME_PREPOSITION,
    SYMMETRIC,
    SYNONYMS,
    UNITS,
)

#: Of this guard; part of what an answer by meaning depends on.
VERSION: Final = "sense-1"

_INFINITIVE = re.compile(
    r"\b((?:way|steps|need\w*|want|have|has|able|unable|allowed|possible|safe\w*|legal|how|used?) )"
    r"to\b",
    re.I,
)
_QUOTED = re.compile(r"`([^`]+)`|\"([^\"]+)\"|“([^”]+)”|(?<!\w)'([^']+)'(?!\w)")
_TOKEN = re.compile(
    r"(?<!\w)-{1,2}[A-Za-z][\w-]*|(?<!\w)\.\w+|\w+(?:[.:/@\\+-]\w+)*(?:\[\w*\])?(?:\(\))?|[%$€£,;]"
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:st|nd|rd|th)?$")
_NUMBER_UNIT = re.compile(r"(\d+(?:\.\d+)?)([a-zA-Z]{1,3})$")
_MARKED = re.compile(r"[._()\[\]/@\\:+]|^-|\d")
_CAMEL = re.compile(r"[a-z][A-Z]|[A-Z]{2}")
_PART = re.compile(r"\w+")
_CONTRACTIONS = (
    (re.compile(r"\bcan'?t\b|\bcannot\b", re.I), "can not"),
    (re.compile(r"\bwon't\b", re.I), "will not"),
    (re.compile(r"n't\b", re.I), " not"),
    (re.compile(r"\b(what|who|where|when|how|that|it|there|here)'s\b", re.I), r"\1 is"),
    (re.compile(r"'s?(?=\s|$)"), " "),
    (re.compile(r"'(?:re|ve|ll|d|m)\b", re.I), " "),
)
_PASSIVE = re.compile(
    r"\b(?:is|are|was|were|be|been|being|get|gets|got) (?:\w+ ){0,4}?"
    r"(?:(?!need|allow|permit|suppos|used to)\w{2,}ed|" + "|".join(PARTICIPLES) + r")\b",
    re.I,
)
_PHRASES = tuple((re.compile(pattern, re.I), plain) for pattern, plain in PHRASES)
_POLITE = re.compile(
    r"(?:(?:hi|hello|hey|please|so|ok|well)\b[,!. ]*|(?:can|could|would|will) you (?:please )?"
    r"(?=tell|explain|show|describe)|(?:tell|show) me (?=what|who|when|where|why|how|which|whether)"
    r"|explain (?:to me )?(?=what|who|when|where|why|how|which|whether)"
    r"|i (?:want|need|would like|d like|like) to know |do you know )+"
)
_KINDS: Final = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("amount", r"how (?:many|much)"),
        ("condition", r"what (?:happen\w*|takes place|took place) (?:if|when|once|while)|what if"),
        ("whose", r"whose\b"),
        ("who", r"(?:by |to |for |with )?who(?:m)?\b"),
        ("when", r"when\b"),
        ("where", r"where\b|(?:in |at )?(?:what|which) place\b"),
        ("why", r"why\b|how come\b|what (?:is|are|was) the reasons?\b|what causes?\b"),
        (
            "howto",
            r"how (?:do|does|can|could|should|would|might|to) (?:i|you|we|one)\b|how to\b|"
            r"how (?:can|is|are) \w+.* (?:be )?\w+ed$|what(?: is|s)? the (?:\w+ )?way to|"
            r"what are the steps|what do i do to|(?:show|tell) me how to|the way to",
        ),
        ("works", r"how (?:does|do|did|is|are|was|were)\b|explain how\b"),
        ("purpose", r"what (?:is|are) .* for$|what (?:is|are) the (?:purpose|point|use) of\b"),
        ("contents", r"what (?:is|are) (?:in|inside|on|under|behind|at|within)\b"),
        ("does", r"what (?:do|does|did) .* do$"),
        ("example", r"(?:give|show) (?:me )?(?:an |some )?examples?\b"),
        (
            "whether",
            r"(?:is|are|was|were|does|do|did|can|could|may|might|must|should|will|would|has|have|"
            r"had|am|whether)\b",
        ),
        ("what", r"(?:in |at |on |of |to |from |with |for )?(?:what|which)\b|describe|explain|tell"
                 r"|define|name\b"),
    )
)  # fmt: skip
_EXTENT = re.compile(
    r"(?:for |since )?how (long|often|far|old|big|large|fast|tall|high|deep|heavy|wide|soon|late)"
)
_LEADING_ADJUNCT = re.compile(r"(?:in|by|on|with|for|at|if|when|after|before|under)\b[^,]*, (.+)")
_LOOSE = frozenset("of for in at on by to when between near beside next".split())
_ANYBODY = frozenset({"howto", "where"})  # whoever does it: `is X kept` asks as `do I keep X` does
_AFTER_A_NAME = frozenset("and or is are plus minus , ;".split())
_NOT_COUNTING = frozenset("which this that any another does can do should".split())  # `one`
_SEPARATORS = frozenset(",;")


@dataclass(frozen=True, slots=True)
class Sense:
    """What decides about a question. ``words`` are the stems of its content words in order,
    ``said`` all of its words; ``roles`` the words after each preposition, ``clauses`` the words
    between them."""

    kind: str
    names: frozenset[str]
    numbers: tuple[str, ...]
    num_negations: int
    words: tuple[str, ...]
    said: Counter[str]
    roles: Mapping[str, frozenset[str]]
    clauses: tuple[tuple[str, ...], ...]
    quantifiers: frozenset[str]
    symmetric: bool
    passive: bool


@lru_cache(maxsize=8192)
def read(question: str) -> Sense:
    """Take ``question`` apart; any text is one."""
    names: set[str] = set()

    def quoted(found: re.Match[str]) -> str:
        names.add(" ".join(next(filter(None, found.groups())).lower().split()).removesuffix("()"))
        return " "

    text = _QUOTED.sub(quoted, question.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    for pattern, plain in (*_CONTRACTIONS, *_PHRASES):
        text = pattern.sub(plain, text)
    tokens = _TOKEN.findall(_INFINITIVE.sub(r"\1", text))
    numbers, items = _sorted_out(tokens, names)
    words = [
        stem(item)
        for item in items
        if (item not in LIGHT | PREPOSITIONS | _SEPARATORS or item in names)
    ]
    roles, clauses = _structure(items, names)
    said = Counter(item for item in items if item not in _SEPARATORS)
    return Sense(
        kind=_kind(text, bool(names)),
        names=frozenset(names),
        numbers=tuple(numbers),
        num_negations=sum(item in NEGATIONS for item in items),
        words=tuple(word for word in words if word not in _NEGATION_STEMS),
        said=said,
        roles=roles,
        clauses=clauses,
        quantifiers=frozenset(QUANTIFIERS[item] for item in items if item in QUANTIFIERS),
        symmetric=not SYMMETRIC.isdisjoint(said),
        passive=bool(_PASSIVE.search(text)),
    )


def conflict(one: Sense, other: Sense) -> str:
    """In what the two differ so that they may not have one answer; empty when in nothing.

    Nearness of words is no evidence here: `older` lies beside `younger`. They are the same, are
    known to stand for each other, or differ.
    """
    return next((name for name, differs in _RULES if differs(one, other)), "")


def stem(word: str) -> str:
    """``word`` without its endings; crude, and the same for all forms of most words."""
    word = IRREGULAR.get(word.lower(), word.lower())
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses", "zes")):
        word = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed", "ly"):
        if len(word) > len(ending) + 2 and word.endswith(ending):
            word = word.removesuffix(ending)
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.removesuffix("e") if len(word) > 3 else word


def _sorted_out(tokens: Sequence[str], names: set[str]) -> tuple[list[str], list[str]]:
    """Numbers and dates, and the words that are left in order; names go into ``names``."""
    numbers: list[str] = []
    items: list[str] = []
    for position, word in enumerate(tokens):
        low = word.lower()
        followed = tokens[position + 1].lower() if position + 1 < len(tokens) else ""
        before = tokens[position - 1].lower() if position else ""
        counted = bool(numbers) and bool(_NUMBER.match(before) or before in NUMBER_WORDS)
        glued = _NUMBER_UNIT.match(word)
        if counted and low in UNITS:
            numbers[-1] += UNITS[low]
        elif low == "a" and (not followed or followed in PREPOSITIONS | _AFTER_A_NAME):
            names.add(low)
            items.append(low)
        elif _NUMBER.match(low) or (low in NUMBER_WORDS and before not in _NOT_COUNTING):
            numbers.append(NUMBER_WORDS.get(low) or re.sub(r"(?:st|nd|rd|th)$", "", low))
            items.append(numbers[-1])
        elif glued and glued[2].lower() in UNITS:
            numbers.append(glued[1] + UNITS[glued[2].lower()])
        elif low in DATES or (word == "May" and position and (counted or before in ("of", "in"))):
            numbers.append(DATES.get(low, "may_month"))
        elif _MARKED.search(word) or _CAMEL.search(word):
            parts = [word] if word.startswith("-") else _PART.findall(low)
            names.update(parts)
            items += [part for part in parts if followed or part]
        else:
            if word[0].isupper() and position and word != "I" and low not in LIGHT:
                names.add(low)
            items.append(low)
    return numbers, items


def _structure(
    items: Sequence[str], names: Set[str]
) -> tuple[dict[str, frozenset[str]], tuple[tuple[str, ...], ...]]:
    """The words by the preposition that they follow, and clause by clause."""
    roles: dict[str, set[str]] = {}
    clauses: list[list[str]] = [[]]
    under = ""
    for item in items:
        if item in PREPOSITIONS:
            under = SAME_PREPOSITION.get(item, item)
            clauses.append([])
        elif item in _SEPARATORS:
            under = ""
            clauses.append([])
        elif (item not in LIGHT and item not in NEGATIONS) or item in names:
            clauses[-1].append(stem(item))
            if under:
                roles.setdefault(under, set()).add(stem(item))
    return (
        {name: frozenset(words) for name, words in roles.items()},
        tuple(tuple(words) for words in clauses if words),
    )


def _kind(text: str, has_names: bool) -> str:
    low = " ".join(text.lower().strip(" ?.!").split())
    low = _POLITE.sub("", low, count=1) if _POLITE.match(low) else low
    adjunct = _LEADING_ADJUNCT.match(low)
    low = adjunct[1] if adjunct else low
    extent = _EXTENT.match(low)
    if extent:
        return f"extent {extent[1]}"
    kind = next((name for name, pattern in _KINDS if pattern.match(low)), "statement")
    return "what" if kind == "does" and has_names else kind


def _known(one: Sense, other: Sense) -> bool:
    """Whether ``other`` has each name of ``one``, and each part of it as often."""
    return all(
        name in other.names or all(part in other.said for part in name.split())
        for name in one.names
    ) and all(one.said[name] == other.said[name] for name in one.names if name in one.said)


def _opposite(one: Set[str], other: Set[str]) -> bool:
    """Whether one has the one word of a pair, and the other the other."""
    only_one, only_other = _with_stems(one - other), _with_stems(other - one)
    return any(
        (only_one & left and only_other & right) or (only_one & right and only_other & left)
        for left, right in _OPPOSITE_STEMS
    )


def _reversed(one: Sense, other: Sense) -> bool:
    """Whether words that both have stand in other places: after another preposition, or in
    another order."""
    if one.symmetric and other.symmetric:
        return False
    shared = {*one.words, *one.numbers, *one.names} & {*other.words, *other.numbers, *other.names}
    for name in one.roles.keys() & other.roles.keys():
        left, right = one.roles[name] & shared, other.roles[name] & shared
        if left - right and right - left:
            return True
    for word in shared:
        left_names = {name for name, words in one.roles.items() if word in words}
        right_names = {name for name, words in other.roles.items() if word in words}
        if not left_names & right_names and (left_names | right_names) - _LOOSE:
            return True
    before = [kept for words in one.clauses if (kept := tuple(w for w in words if w in shared))]
    after = [kept for words in other.clauses if (kept := tuple(w for w in words if w in shared))]
    if before == after or sorted(before) == sorted(after):
        return False
    left_all, right_all = tuple(chain(*before)), tuple(chain(*after))
    if left_all == right_all:
        return False
    return not (one.kind in _ANYBODY and _rotated(left_all, right_all))


def _rotated(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the verb at one end of ``one`` stands at the other end of ``other``."""
    return one[1:] + one[:1] == other or one[-1:] + one[:-1] == other


def _lacking(one: Sense, other: Sense) -> list[str]:
    """The content words of ``one`` that ``other`` has not, nor a synonym of."""
    theirs = {*other.words, *(stem(name) for name in other.names)}
    groups = {group for word in theirs for group in _SYNONYM_GROUPS.get(word, ())}
    return [
        word
        for word in dict.fromkeys(one.words)
        if word not in theirs and not groups.intersection(_SYNONYM_GROUPS.get(word, ()))
    ]


def _with_stems(words: Set[str]) -> set[str]:
    return {*words, *map(stem, words)}


def _other_names(one: Sense, other: Sense) -> bool:
    return not (_known(one, other) and _known(other, one))


def _other_voice(one: Sense, other: Sense) -> bool:
    return one.passive != other.passive and one.kind not in _ANYBODY


def _other_words(one: Sense, other: Sense) -> bool:
    return bool(_lacking(one, other) or _lacking(other, one))


_RULES: Final[tuple[tuple[str, Callable[[Sense, Sense], bool]], ...]] = (
    ("kind", lambda one, other: one.kind != other.kind),
    ("number", lambda one, other: sorted(one.numbers) != sorted(other.numbers)),
    ("negation", lambda one, other: one.num_negations != other.num_negations),
    ("name", _other_names),
    ("opposite", lambda one, other: _opposite(one.said.keys(), other.said.keys())),
    ("voice", _other_voice),
    ("quantifier", lambda one, other: one.quantifiers != other.quantifiers),
    ("direction", _reversed),
    ("word", _other_words),
)
_NEGATION_STEMS: Final = frozenset(map(stem, NEGATIONS))
_OPPOSITE_STEMS: Final = tuple(
    (frozenset(_with_stems(left)), frozenset(_with_stems(right))) for left, right in OPPOSITES
)
_SYNONYM_GROUPS: Final[dict[str, set[int]]] = {}
for _number, _group in enumerate(SYNONYMS):
    for _word in _group:
        _SYNONYM_GROUPS.setdefault(stem(_word), set()).add(_number)
