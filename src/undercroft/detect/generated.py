"""Text -> traces that a chat model wrote it, and that nobody read it before it was published.

Two kinds: what models say of themselves or leave behind (refusals, offers to go on, placeholders,
citation marks of a chat window), and words that became many times commoner in papers when chat
models came (Kobak et al. 2025, "Delving into LLM-assisted writing in biomedical publications
through excess vocabulary"). Text that a person went over shows neither: little of these is no proof
of a human author.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from undercroft.detect.patterns import pattern

_pattern = partial(pattern, "generated")
_MODEL: Final = (
    r"(?:an?\s+)?(?:AI|artificial intelligence|large|machine learning)\s?(?:language\s+)?"
    r"(?:model|assistant)"
)

PATTERNS: Final = (
    _pattern(
        "residue",
        "as-a-model",
        "as an, as a , i'm , i am ",
        rf"\bas\s+{_MODEL}\b[,\s]|\bI(?:'m| am)\s+(?:just\s+|only\s+)?{_MODEL}\b"
        r"|\bas a language model\b|\bI am (?:ChatGPT|Claude|Gemini|Bard|Copilot)\b",
        0.9,
    ),
    _pattern(
        "residue",
        "refusal",
        "sorry, your request, this request, that request",
        r"\bI(?:'m| am) sorry,? but (?:as an AI|I (?:cannot|can't|am unable to) (?:assist|fulfill?"
        r"|provide|generate|create|comply|continue this|engage))\b"
        r"|\bI (?:cannot|can't|am unable to) (?:fulfill?|assist with|comply with|complete) "
        r"(?:that|this|your) request\b",
        0.85,
    ),
    _pattern(
        "residue",
        "knowledge-cutoff",
        "of my , since my , my knowledge, my training, real-time",
        r"\b(?:as of|since) my (?:last|latest) (?:knowledge |training )?(?:update|cut-?off)\b"
        r"|\bmy (?:knowledge|training)(?: data)? (?:cut-?off|cuts off|only goes)\b"
        r"|\bI (?:do not|don't) have (?:access to )?real-time (?:data|information|access)\b",
        0.9,
    ),
    _pattern(
        "residue",
        "here-is-your",
        "certainly, sure!, sure,, sure., of course, absolutely, great question",
        r"(?:^|\n)\W{0,3}(?:certainly|sure|of course|absolutely|great question)\s?[!,.]\s+"
        r"(?:here(?:'s| is| are)|I(?:'d| would| can| will)|let(?:'s| me)|below)\b",
        0.75,
    ),
    _pattern(
        "residue",
        "offer-to-go-on",
        "would you like me, let me know if",
        r"\b(?:would you like me to|let me know if you(?:'d| would)? (?:like me to|want me to"
        r"|need(?: any)? (?:more|further)))\b[^.\n]{0,80}\b(?:expand|revise|adjust|rewrite|help"
        r"|assist|add|changes|information|version|elaborate)\b",
        0.7,
    ),
    _pattern(
        "residue",
        "placeholder",
        "[insert, [your, [company, [recipient",
        r"\[(?:insert|your|company|recipient'?s?)\s[^\]\n]{2,60}\](?!\()",
        0.4,
    ),
    _pattern(
        "residue",
        "chat-window",
        "turn0, turn1, turn2, oaicite, regenerate response, utm_source=chatgpt",
        r"\bturn\d+(?:search|view|news)\d+\b|:?contentReference\[oaicite|\boaicite\b"
        r"|(?:^|\n)\s*Regenerate response\s*(?:\n|$)|utm_source=chatgpt\.com",
        0.95,
    ),
)

#: Words whose excess in 2024 was large, beside the paper's own subject words.
EXCESS: Final = frozenset(
    """
    bolster bolstered bolstering bolsters burgeoning commendable comprehensive comprehensively delve
    delved delves delving elucidate elucidated elucidates elucidating encompass encompassed
    encompasses encompassing fostered fostering fosters garner garnered garnering garners
    groundbreaking harnessed harnesses harnessing holistic holistically intricacies intricate
    intricately invaluable leverage leveraged leverages leveraging meticulous meticulously
    multifaceted noteworthy nuanced pivotal realm realms seamless seamlessly showcase showcased
    showcases showcasing tapestry testament transformative underpin underpinned underpinning
    underpins underscore underscored underscores underscoring unwavering
    """.split()  # noqa: SIM905
)
