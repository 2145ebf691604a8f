"""What each character is, for the rules that count characters, words and lines.

One table of flags by code point. Beyond `SIZE` (Han extensions, private use) everything is a
letter. The classes of affixes are those of spaCy's English tokenizer, since the published
heuristics were tuned on its words.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

SIZE: Final = 0x20000

#: Flags of a character.
SPACE, LINE_END, LOWER, UPPER, DIGIT, LETTER, AFFIX, QUOTE = (1 << bit for bit in range(8))
HYPHEN, CURRENCY, SYMBOL, TERMINAL, PUNCTUATION, ICON = (1 << bit for bit in range(8, 14))

#: Characters that are words of their own at either end of a word, quotes and currencies aside.
_AFFIXES: Final = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES: Final = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
_CURRENCIES: Final = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₸₹₺"
_HYPHENS: Final = "-–—~"
#: Punctuation that makes no word, in datatrove's list; its terminal punctuation belongs too.
_PUNCTUATION: Final = (
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
)
_LINE_ENDS: Final = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def _terminals() -> str:
    """Characters that end a sentence, by the Unicode property of that name (UAX 29)."""
    import regex  # type: ignore[import-untyped]

    every = "".join(chr(code) for code in range(SIZE) if not 0xD800 <= code < 0xE000)
    return "".join(regex.findall(r"\p{Sentence_Terminal}", every))


@cache
def flags() -> NDArray[np.uint16]:
    """The flags of every character below `SIZE`, uint16 [SIZE]. Takes 0.1 s, once."""
    table = np.zeros(SIZE, np.uint16)
    for code in range(SIZE):
        char = chr(code)
        if char.isalpha():
            cased = char.islower() or char.isupper()
            table[code] = LETTER
            table[code] |= LOWER if char.islower() or not cased else 0
            table[code] |= UPPER if char.isupper() or not cased else 0
        elif char.isspace():
            table[code] = SPACE
        elif unicodedata.category(char) == "So":
            table[code] = AFFIX | ICON
        if unicodedata.category(char)[0] == "P":
            table[code] |= PUNCTUATION
    table[ord("0") : ord("9") + 1] |= DIGIT
    for chars, flag in (
        (_AFFIXES, AFFIX),
        (_QUOTES, QUOTE | AFFIX),
        ("|", QUOTE),
        (_CURRENCIES, CURRENCY),
        (_HYPHENS, HYPHEN),
        (_PUNCTUATION, SYMBOL),
        (_terminals(), TERMINAL | SYMBOL),
        (_LINE_ENDS, LINE_END),
    ):
        for char in chars:
            table[ord(char)] |= flag
    for first, last in ((0, 9), (11, 13), (13, 32), (127, 160)):
        table[first:last] |= SYMBOL
    return table
