"""Text -> signs that it is there to sell or to be found, not to be read.

English wordings, and what needs no language: links given for their wording, keywords in a row. One
sign is little (a page on pharmacies names medicines); `patterns.score` joins those that differ.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from undercroft.detect.patterns import pattern

_pattern = partial(pattern, "spam")
_DRUGS: Final = r"(?:viagra|cialis|levitra|tramadol|xanax|phentermine|kamagra|ambien|valium)"
_SOLD: Final = (
    r"(?:buy|order|cheap(?:est)?|discount|generic|online|without (?:a )?prescription|no rx)"
)

PATTERNS: Final = (
    _pattern(
        "pharmacy",
        "medicine-for-sale",
        "viagra, cialis, levitra, tramadol, xanax, phentermine, kamagra, ambien, valium",
        rf"\b{_SOLD}\W+(?:\w+\W+){{0,2}}{_DRUGS}\b|\b{_DRUGS}\W+(?:\w+\W+){{0,2}}{_SOLD}\b",
        0.85,
    ),
    _pattern(
        "gambling",
        "casino-bonus",
        "casino, slot, betting, poker",
        r"\b(?:online|mobile|live|crypto|best|free|no deposit)\W+(?:\w+\W+){0,2}"
        r"(?:casinos?|slot machines?|betting sites?|poker)\b"
        r"|\b(?:casino|slot|betting|poker)\W+(?:\w+\W+)?"
        r"(?:bonus(?:es)?|free spins|promo codes?|jackpots?)\b",
        0.6,
    ),
    _pattern(
        "gambling",
        "free-spins",
        "free spin, no deposit bonus, no-deposit bonus, welcome bonus",
        r"\b(?:free spins?|no[- ]deposit bonus(?:es)?|welcome bonus of)\b",
        0.6,
    ),
    _pattern(
        "money",
        "easy-income",
        "from home, make money, passive income, at home",
        r"\b(?:earn|make)\W+(?:up to\W+)?(?:\$|€|£|usd\W)?\s?\d[\d,.]*\W{0,2}(?:k\b)?\W{0,3}"
        r"(?:\w+\W+){0,2}"
        r"(?:per|a|every|each)\W+(?:day|week|month|hour)\W+(?:\w+\W+){0,6}(?:from|at) home\b"
        r"|\bmake money (?:online|fast|from home)\b|\bpassive income (?:secret|system|formula)\b"
        r"|\bwork from home and earn\b",
        0.6,
    ),
    _pattern(
        "money",
        "sure-returns",
        "guaranteed, double your, risk-free, risk free, 100%",
        r"\b(?:guaranteed|risk[- ]free|100%) (?:\w+ ){0,1}(?:returns|profits?|income|roi)\b"
        r"|\bdouble your (?:bitcoins?|money|crypto|investment|deposit)\b",
        0.6,
    ),
    _pattern(
        "money",
        "advance-fee",
        "next of kin, beneficiary, you have, your e",
        r"\b(?:next of kin|beneficiary)\b[^.\n]{0,160}\b(?:million|usd|dollars|fund)s?\b"
        r"|\byou(?:r e-?mail(?: address)?)? ha(?:ve|s) (?:been selected|won)\b[^.\n]{0,120}"
        r"\b(?:lottery|prize|million|usd)\b",
        0.8,
    ),
    _pattern(
        "money",
        "payday-loan",
        "loan, credit repair, debt relief",
        r"\b(?:payday|instant|bad credit|no credit check)\W+(?:\w+\W+)?loans?\b"
        r"|\b(?:credit repair|debt relief) (?:service|company|now)\b",
        0.5,
    ),
    _pattern(
        "seo",
        "links-for-sale",
        "backlink, back-link, guest post, rank, seo ",
        r"\b(?:buy|cheap|high[- ]quality|dofollow|permanent)\W+(?:\w+\W+){0,2}"
        r"(?:back-?links|guest posts?)\b"
        r"|\brank(?:s|ed)? (?:#?1|number one|first) (?:on|in) google\b"
        r"|\bseo (?:services?|packages?|agency)\b",
        0.5,
    ),
    _pattern(
        "seo",
        "essays-for-sale",
        "essay, term paper, dissertation, writing service",
        r"\b(?:buy|order|custom|cheap)\W+(?:\w+\W+)?(?:essays?|term papers?|dissertations?)\b"
        r"|\b(?:essay|homework|assignment|dissertation) writing services?\b",
        0.6,
    ),
    _pattern(
        "seo",
        "replicas",
        "cheap, replica, wholesale, fake, discount",
        r"\b(?:cheap|replica|wholesale|fake|discount)\W+(?:\w+\W+){0,2}(?:watches|handbags?|jerseys"
        r"|sunglasses|ray[- ]?bans?|louis vuitton|rolex|gucci|ugg boots)\b",
        0.7,
    ),
    _pattern(
        "seo",
        "links-in-a-row",
        "](http",
        r"(?:\[[^\]\n]{1,60}\]\(https?://[^)\s]{1,200}\)[\s,|·•\u2013-]{0,4}){8,}",
        0.5,
    ),
    _pattern(
        "pressure",
        "act-now",
        "act now, order now, hurry, call now, click , guarante",
        r"\b(?:act now|order now|hurry(?: up)?|call now)\b\W{0,3}(?:\w+\W+){0,6}"
        r"(?:limited|offer|supplies|stock|today only|before it'?s too late)\b"
        r"|\bclick (?:here|below|this link) (?:to|and|for) (?:\w+\W+){0,3}"
        r"(?:buy|order|claim|win|discount|get (?:your|a) free)\b"
        r"|\b(?:100% )?(?:satisfaction|money[- ]back) guarante(?:e|ed)\b",
        0.5,
    ),
    _pattern(
        "pressure",
        "adult",
        "xxx, porn, escort, cam girl, sex cam, singles",
        r"\b(?:free|live|hot|watch) (?:\w+ ){0,2}(?:xxx|porn|sex cams?|cam girls?|escorts?)\b"
        r"|\b(?:hot|local) singles\b",
        0.7,
    ),
)
