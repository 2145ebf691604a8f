"""Words that are split, or kept whole, against the rules: contractions, abbreviations, clock times.

English as spaCy's tokenizer knows it, as far as it matters to counts of words: a contraction is
two words, an abbreviation keeps its dot.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PRONOUNS: Final = ("i", "you", "he", "she", "it", "we", "they")
_QUESTIONS: Final = ("who", "what", "when", "where", "why", "how", "there", "that")
_NEGATED: Final = """
    ca could do does did had may might must need ought sha should wo would is are was were have has
    dare ai
""".split()
_NOT_CONTRACTED: Final = "ill its hell shell shed were well whore".split()
#: Kept whole as they stand here and with a capital.
_KEPT: Final = """
    're 's 'em 'll 'd '' 'nuff 'cause 'cos 'coz 'cuz nothin' nuthin' ol' somethin' goin' doin'
    havin' lovin' o'clock ma'am not've and/or w/o co. inc. ltd. corp. bros. mr. mrs. ms. dr. prof.
    gen. gov. sen. rep. rev. st. mt. jr. messrs. adm. e.g. i.e. v.s. vs. v.v. a.m. p.m. ph.d. ala.
    apr. ariz. ark. aug. calif. colo. conn. d.c. dec. del. feb. fla. ga. ia. id. ill. ind. jan. jul.
    jun. kan. kans. ky. la. mar. mass. mich. minn. miss. mo. mont. n.c. n.d. n.h. n.j. n.m. n.y.
    neb. nebr. nev. nov. oct. okla. ore. pa. s.c. sep. sept. tenn. va. wash. wis. c++
""".split()
_EMOTICONS: Final = r"""
    :) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-)
    (; (-; :( :-( :(( :-(( :((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| ]= =[ :1
    :P :-P :p :-p :O :-O :o :-o :0 :-0 :() >:o :* :-* :3 :-3 =3 :> :-> :X :-X :x :-x :D :-D ;D ;-D
    =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< >.> <.< ._. ;_; -_- -__- v.v V.V v_v V_V o_o o_O O_o
    O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 <333 </3 (^_^) (-_-) (._.) (>_<) (*_*)
    ><(((*>
""".split()
_CUT: Final = "can|not gon|na got|ta let|'s y'|all y|all how|'d|'y c'm|on d|'|ye".split()
MAX_LENGTH: Final = 12

_OFFSET = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)


@cache
def table() -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
    """Open-addressing table of FNV-1a keys, uint64 [2^k], and the lengths of each one's parts,
    int8 [2^k, 4], zeros at the end."""
    found = {word: parts for parts in _all() if len(word := "".join(parts)) <= MAX_LENGTH}
    size = 1 << (4 * len(found)).bit_length()
    keys, parts_of = np.zeros(size, np.uint64), np.zeros((size, 4), np.int8)
    for word, parts in found.items():
        key = _hash(word)
        slot = int(key) & (size - 1)
        while keys[slot]:
            slot = (slot + 1) & (size - 1)
        keys[slot] = key
        parts_of[slot, : len(parts)] = [len(part) for part in parts]
    return keys, parts_of


def _hash(word: str) -> np.uint64:
    with np.errstate(over="ignore"):
        key = _OFFSET
        for char in word:
            key = (key ^ np.uint64(ord(char))) * _PRIME
        return key


def _all() -> Iterator[tuple[str, ...]]:
    for parts in _lower():
        yield parts
        yield (parts[0].capitalize(), *parts[1:])
        curly = tuple(part.replace("'", "\u2019") for part in parts)
        if curly != parts:
            yield curly
            yield (curly[0].capitalize(), *curly[1:])
    for face in _EMOTICONS:
        yield (face,)
    for hour in range(1, 13):
        for half in ("am", "pm", "a.m.", "p.m."):
            yield str(hour), half
    for letter in "abcdefghijklmnopqrstuvwxyz":
        yield (f"{letter}.",)


def _lower() -> Iterator[tuple[str, ...]]:
    for word in _contractions():
        yield word
        joined = "".join(word).replace("'", "")
        if joined not in _NOT_CONTRACTED:
            yield tuple(part.replace("'", "") for part in word)
    for kept in _KEPT:
        yield (kept,)
    for cut in _CUT:
        yield tuple(cut.split("|"))


def _contractions() -> Iterator[tuple[str, ...]]:
    yield "i", "'m"
    for word in _PRONOUNS:
        endings = ["'ll", "'d"]
        endings += ["'s"] if word in ("he", "she", "it") else []
        endings += ["'ve"] if word in ("i", "you", "we", "they") else []
        endings += ["'re"] if word in ("you", "we", "they") else []
        for ending in endings:
            yield word, ending
        yield word, "'ll", "'ve"
        yield word, "'d", "'ve"
    for word in _QUESTIONS:
        for ending in ("'s", "'ll", "'d", "'re", "'ve"):
            yield word, ending
    for word in _NEGATED:
        yield word, "n't"
        yield word, "n't", "'ve"
    for word in ("could", "might", "must", "should", "would"):
        yield word, "'ve"
