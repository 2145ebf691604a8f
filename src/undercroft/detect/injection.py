"""Text -> signs that it tries to give orders to the model that reads it.

The text is first read as a model would read it: compatibility forms folded (NFKC), letters that
imitate Latin ones replaced, invisible characters taken out and Unicode tags turned back into the
ASCII they hide. Then each pattern is looked for, and every finding points at the original text.

This is a monitor, not a boundary: adaptive attackers pass pattern screens (Nasr et al., "The
Attacker Moves Second", 2025). What the model may do has to be limited elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Final

from undercroft.detect.disguises import CONFUSABLE, INVISIBLE, foreign
from undercroft.detect.patterns import MAX_CHARS, Patterns, pattern
from undercroft.records import Finding

_OWNER: Final = (
    r"(?:(?:all|any|every|the|your|my|its|these|those|of|previous|prior|above|earlier|preceding"
    r"|foregoing|initial|original|system|developer|safety|current|given) ){1,6}"
)
_ORDERS: Final = (
    r"(?:instruction|direction|directive|prompt|guideline|guardrail|rule|command|order|message"
    r"|programming|restriction|constraint|context)s?"
)
_pattern = partial(pattern, "injection")

PATTERNS: Final = (
    _pattern(
        "override",
        "ignore-instructions",
        "ignore, disregard, forget, override, overrule, bypass, neglect, drop, do not follow, "
        "stop following",
        r"\b(?:ignore|disregard|forget|override|overrule|bypass|neglect|drop|do not follow"
        rf"|stop following)\s+(?:about\s+)?{_OWNER}{_ORDERS}\b",
        0.9,
    ),
    _pattern(
        "override",
        "ignore-everything",
        "ignore, disregard, forget",
        r"\b(?:ignore|disregard|forget)\s+(?:everything|anything|all)\s+(?:\w+\s+){0,3}"
        r"(?:above|before|previously|prior|so far|told|said|learned)\b",
        0.85,
    ),
    _pattern(
        "override",
        "new-instructions",
        "instruction",
        r"(?:^|[\n.!>#*-])\s*(?:new|updated|revised|real|actual|important)\s+(?:system\s+)?"
        r"instructions?\s*(?::|-{1,3}|\u2014|follow)",
        0.7,
    ),
    _pattern(
        "override",
        "authority-claim",
        "admin, developer, maintenance, debug, god, root",
        r"\b(?:admin(?:istrator)?|developer|maintenance|debug|god|root)\s+(?:override|mode)\s+"
        r"(?:is\s+)?(?:enabled|activated|active|on|engaged|granted|code)\b",
        0.75,
    ),
    _pattern(
        "role",
        "chat-markup",
        "<|, [inst], [/inst], <<sys>>, <</sys>>",
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)\|?>?"
        r"|\[/?INST\]|<</?SYS>>",
        0.8,
    ),
    _pattern(
        "role",
        "forged-turn",
        "system, assistant",
        r"(?:^|\n)[ \t]*(?:#{2,4}[ \t]*|\[|<)(?:system|assistant)(?:\s+(?:message|prompt))?"
        r"(?:\]|>|[ \t]*:)",
        0.5,
    ),
    _pattern(
        "role",
        "persona",
        "you are now, from now on, pretend to be, pretend you are, pretend that you, act as, "
        "roleplay as, role-play as",
        r"\b(?:you are now|from now on,? you(?:'re| are| will| must)|pretend (?:to be|you are"
        r"|that you)|act as|role-?play as)\b[^.\n]{0,60}\b(?:DAN|unrestricted|unfiltered"
        r"|uncensored|jailbroken|evil|developer mode|do anything now"
        r"|(?:without|no) (?:any )?(?:restrictions|rules|limits|filters|censorship))\b",
        0.85,
    ),
    _pattern(
        "role",
        "do-anything-now",
        "do anything now, jailbreak, jailbroken",
        r"\bdo anything now\b|\bjailbr(?:eak|oken)\s+(?:mode|prompt|yourself|the model)\b",
        0.7,
    ),
    _pattern(
        "exfiltrate",
        "reveal-prompt",
        "prompt, instruction, rules",
        r"\b(?:reveal|show|print|repeat|output|display|tell me|give me|leak|expose|recite|dump"
        r"|what (?:is|are|was|were))\s+(?:(?:me|the|your|all|of|full|entire|complete|exact"
        r"|verbatim)\s+){0,6}(?:(?:your|hidden|secret|initial|original)\s+(?:system\s+)?"
        r"(?:prompt|instructions|rules)|system\s+(?:prompt|message|instructions))\b",
        0.75,
    ),
    _pattern(
        "exfiltrate",
        "repeat-above",
        "above, before this",
        r"\b(?:repeat|print|output|copy|translate|summari[sz]e)\s+(?:all\s+)?(?:of\s+)?"
        r"(?:the\s+)?(?:words|text|everything|content|lines|sentences|instructions)\s+"
        r"(?:\w+\s+){0,2}(?:above|before this)(?=\s*(?:[.!?,:;\n]|$))",
        0.7,
    ),
    _pattern(
        "exfiltrate",
        "send-out",
        "send, post, forward, mail, upload, transmit, exfiltrate",
        r"\b(?:send|post|forward|e-?mail|upload|transmit|exfiltrate)\b[^.\n]{0,60}\b(?:password"
        r"|api[ _-]?key|credential|secret|conversation|chat history|system prompt|user'?s? data)s?"
        r"\b[^.\n]{0,60}\b(?:to|at)\b\s*(?:https?://|[\w.+-]+@|the (?:following|attacker))",
        0.8,
    ),
    _pattern(
        "exfiltrate",
        "image-beacon",
        "![",
        r"!\[[^\]\n]{0,80}\]\(\s*https?://[^)\s]{1,200}[?&][^)\s=]{1,40}="
        r"\s*(?:\{|%7B|\$|<|\[)",
        0.7,
    ),
)

_TOGETHER: Final = Patterns(PATTERNS)

# --- reading the text as a model would ---------------------------------------------------------

_TAG_FIRST, _TAG_LAST = 0xE0020, 0xE007E  # Unicode tags that mirror ASCII
_LATIN: Final = re.compile(r"[A-Za-z]")
_FOREIGN: Final = re.compile(r"[^\x00-\x7f]+")


def normalise(text: str) -> str:
    """``text`` as it reads."""
    if text.isascii():
        return text
    imitates = _imitates(text)
    return _FOREIGN.sub(lambda run: "".join(_read(char, imitates) for char in run[0]), text)


def origins(text: str) -> Sequence[int]:
    """For each character of the normalised ``text`` the place in ``text`` it came from."""
    if text.isascii():
        return range(len(text))
    imitates = _imitates(text)
    return [
        at
        for at, char in enumerate(text)
        for _ in range(1 if char.isascii() else len(_read(char, imitates)))
    ]


def _imitates(text: str) -> bool:
    """Whether other alphabets may stand for Latin: whole texts in Cyrillic or Greek are those
    languages, and only a mixture imitates."""
    return _LATIN.search(text) is not None


@lru_cache(4096)
def _read(char: str, imitates: bool) -> str:
    """What a character that is not ASCII reads as."""
    if char in INVISIBLE:
        return ""
    if _TAG_FIRST <= ord(char) <= _TAG_LAST:
        return chr(ord(char) - 0xE0000)
    if imitates and char in CONFUSABLE:
        return CONFUSABLE[char]
    return unicodedata.normalize("NFKC", char)


def find(text: str) -> list[Finding]:
    """Signs of prompt injection in ``text``, by position; offsets are those of ``text``."""
    text = text[:MAX_CHARS]
    findings = _TOGETHER.find(normalise(text))
    if findings:
        origin = origins(text)
        findings = [
            replace(found, start=origin[found.start], end=origin[found.end - 1] + 1)
            for found in findings
        ]
    if not text.isascii():
        findings += _hidden(text)
    findings.sort(key=lambda finding: (finding.start, finding.end, finding.rule))
    return findings


#: Flags such as that of Wales are spelled with tags too, after a black flag (UTS 51).
_TAGS: Final = re.compile("(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0020-\U000e007e]{4,}")
_DIRECTION: Final = re.compile("[\u202d\u202e\u2066-\u2068]")
_SMUGGLED: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{8,}")
_ZERO_WIDTH: Final = re.compile("[\u200b\u2060-\u2064\ufeff]")
#: Every character that one of these has in it.
_HIDDEN: Final = frozenset("\u200b\ufeff\u202d\u202e").union(
    map(chr, range(0x2060, 0x206A)),
    map(chr, range(0xFE00, 0xFE10)),
    map(chr, range(0xE0020, 0xE01F0)),
)


def _hidden(text: str) -> list[Finding]:
    """Text that people do not see: tags, variation selectors in a row, words broken by characters
    of no width, overridden direction."""
    if _HIDDEN.isdisjoint(foreign(text)):
        return []
    found = [
        Finding("injection.hidden_text", match.start(), match.end(), score, name)
        for name, pattern, score in (
            ("unicode-tags", _TAGS, 0.95),
            ("variation-selectors", _SMUGGLED, 0.9),
            ("direction-override", _DIRECTION, 0.4),
        )
        for match in pattern.finditer(text)
    ]
    inside = [m.start() for m in _ZERO_WIDTH.finditer(text) if _is_inside_a_word(text, m.start())]
    if len(inside) >= 3:
        found.append(
            Finding("injection.hidden_text", inside[0], inside[-1] + 1, 0.6, "zero-width-in-words")
        )
    return found


def _is_inside_a_word(text: str, at: int) -> bool:
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    return before.isascii() and before.isalpha() and after.isascii() and after.isalpha()
