"""What identifies a person only together with the words beside it: numbers of identity papers and
accounts, dates of birth, postal addresses.

Nine digits may be anything; nine digits after "social insurance number" that pass its check are
somebody's. So a rule here names the words, the form and the check. Since the words may stand
before the value or after it, a line is needed whole: these rules are for documents, not for text
that is still being written. Check digits are those of `python-stdnum`; where a number has none
(passports, licences), its words have to stand right before it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

from undercroft.detect.disguises import reading
from undercroft.detect.rules import placed
from undercroft.detect.signs import Signs, folded
from undercroft.records import Finding

BEFORE: Final = 60  # characters between the words and the value after them
AFTER: Final = 24
#: Every value has three digits not far apart, or a street with its number, or is a wallet.
#: Each is told by a digit in it, which is found quickly.
_SIGN: Final = re.compile(
    r"[0-9](?:(?:.{0,3}[0-9]){2}"
    r"|(?<=[1-9])[0-9]{0,4}[A-Za-z]?,? (?:[A-Z]|rue|avenue|boulevard|place|chemin|impasse)"
    r"|(?<=[1-9])(?:(?<=tra[ßs]e .)|(?<=trasse .)|(?<=[Ss]tr\. .)|(?<=weg .)|(?<=platz .)"
    r"|(?<=allee .)|(?<=gasse .)|(?<=straat .)|(?<=laan .))"
    r"|(?:(?<=bc1)|(?<=[13]))[a-zA-HJ-NP-Z0-9]{25})"
)


@dataclass(frozen=True, slots=True)
class Words:
    """Words in any case; a line with any of them has, folded, one of ``signs`` in it."""

    pattern: re.Pattern[str]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A value of the form ``pattern`` is of ``kind`` when ``words`` stand near it and it passes the
    check of the module ``check`` of `stdnum` (empty: the words are enough)."""

    kind: str
    name: str
    words: Words
    pattern: re.Pattern[str]
    check: str = ""
    score: float = 0.9

    def find(self, line: str) -> Iterator[tuple[int, int]]:
        words = self.words.pattern.finditer(line)
        places = [found.span() for found in words if not _is_label(found)]
        if not places:
            return
        firsts, lasts = [first for first, _ in places], [last for _, last in places]
        for found in self.pattern.finditer(line):
            start, end = found.span()
            is_near = _holds(lasts, start - BEFORE, start)
            if not is_near and self.check:
                is_near = _holds(firsts, end, end + AFTER)
            if is_near and self._is_valid(found[0]):
                yield start, end

    def _is_valid(self, value: str) -> bool:
        return not self.check or bool(_checker(self.check)(value))


def _holds(places: list[int], first: int, last: int) -> bool:
    """Whether one of ``places``, which are in order, lies between the two."""
    at = bisect_left(places, first)
    return at < len(places) and places[at] <= last


def _is_label(found: re.Match[str]) -> bool:
    """Whether the words are the placeholder of a value that was masked."""
    start, end = found.span()
    return found.string[start - 1 : start] == "[" and found.string[end : end + 1] == "]"


@cache
def _checker(name: str) -> Callable[[str], Any]:
    checker: Callable[[str], Any] = import_module(f"stdnum.{name}").is_valid
    return checker


#: What of an expression for words is not always there as it is written.
_VARIABLE: Final = re.compile(
    r"\(\?:(?:[^()]|\([^()]*\))*\)\??|\[[^\]]*\][?+]?|\\.[?+]?|[^()\[\]\\]\?"
)


def _words(*words: str) -> Words:
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(words) + r")(?!\w)", re.I)
    return Words(pattern, tuple(folded(max(_VARIABLE.split(word), key=len)) for word in words))


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.+-])(?:{pattern})(?![\w+-]|\.[0-9])")


def _number(country: str, check: str, form: str, *words: str) -> Told:
    return Told("identity.national_id", f"{country}-{check.rpartition('.')[2]}",
                _words(*words), _form(form), check)  # fmt: skip


_NINE: Final = r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3}"
_ELEVEN: Final = r"[0-9]{11}"
_DATE: Final = (
    r"[0-3]?[0-9][./-][01]?[0-9][./-](?:19|20)?[0-9]{2}|(?:19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]"
    r"|[0-3]?[0-9](?:st|nd|rd|th|\.)? ?(?:of )?[A-Z][a-zéûä]{2,8},? (?:19|20)[0-9]{2}"
    r"|[A-Z][a-z]{2,8} [0-3]?[0-9](?:st|nd|rd|th)?,? (?:19|20)[0-9]{2}"
)
_STREETS: Final = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Terrace"
    "|Place|Pl|Crescent|Close|Parkway|Pkwy|Highway|Hwy|Way"
)

RULES: Final = (
    _number("at", "at.vnr", r"[0-9]{4} ?[0-9]{6}", "sozialversicherungsnummer", "svnr", "vnr"),
    _number("au", "au.tfn", _NINE, "tfn", "tax file (?:number|no)"),
    _number(
        *("be", "be.nn", r"[0-9]{2}\.?[0-9]{2}\.?[0-9]{2}[ -]?[0-9]{3}[ .]?[0-9]{2}"),
        *("rijksregisternummer", "num[ée]ro national", "niss", "insz", "national number"),
    ),
    _number("bg", "bg.egn", r"[0-9]{10}", "egn", "ЕГН"),
    _number("br", "br.cpf", r"[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}", "cpf"),
    _number("ca", "ca.sin", _NINE, "sin", "nas", "social insurance (?:number|no)"),
    _number("ch", "ch.ssn", r"756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2}", "ahv", "avs", "oasi"),
    _number("cl", "cl.rut", r"[0-9]{1,2}\.?[0-9]{3}\.?[0-9]{3}-?[0-9kK]", "rut", "run"),
    _number("cn", "cn.ric", r"[0-9]{17}[0-9xX]",
            "身份证(?:号|号码)?", "resident id", "id (?:card|no)"),
    _number("cz", "cz.rc", r"[0-9]{6}/?[0-9]{3,4}", "rodn[ée] č[ií]slo", "rč", "birth number"),
    _number("de", "de.idnr", r"[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}",
            "steuer-?id(?:entifikationsnummer|nr)?", "idnr", "tax id"),
    _number("dk", "dk.cpr", r"[0-9]{6}-?[0-9]{4}", "cpr(?:-n(?:r|ummer))?"),
    _number("ee", "ee.ik", _ELEVEN, "isikukood", "personal (?:identification )?code"),
    _number("es", "es.dni", r"[0-9]{8}[ -]?[A-Z]", "dni", "nif", "documento nacional"),
    _number("es", "es.nie", r"[XYZ]-?[0-9]{7}-?[A-Z]", "nie", "extranjero"),
    _number("fi", "fi.hetu", r"[0-9]{6}[-+A][0-9]{3}[0-9A-Y]", "henkilötunnus", "hetu",
            "personal identity code"),
    _number("fr", "fr.nir", r"[12] ?[0-9]{2} ?[0-9]{2} ?[0-9AB]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
            "nir", "s[ée]curit[ée] sociale", "insee"),
    _number("gb", "gb.nhs", r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}", "nhs(?: (?:number|no))?"),
    _number("gr", "gr.amka", _ELEVEN, "amka", "\u0391\u039c\u039a\u0391"),
    _number("hr", "hr.oib", _ELEVEN, "oib"),
    _number("ie", "ie.pps", r"[0-9]{7}[A-W][A-IW]?", "pps(?:n)?"),
    _number("il", "il.idnr", r"[0-9]{9}", "teudat zehut", "תעודת זהות", "israeli id"),
    _number("in", "in_.aadhaar", r"[2-9][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}", "aadhaar", "uidai"),
    _number("in", "in_.pan", r"[A-Z]{5}[0-9]{4}[A-Z]", "pan(?: (?:number|no|card))?"),
    _number("it", "it.codicefiscale", r"[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]",
            "codice fiscale", "c\\.?f", "tax code"),
    _number("kr", "kr.rrn", r"[0-9]{6}-[0-9]{7}",
            "주민등록번호", "rrn", "resident registration"),
    _number("lt", "lt.asmens", _ELEVEN, "asmens kodas"),
    _number("mx", "mx.curp", r"[A-Z]{4}[0-9]{6}[HM][A-Z]{5}[0-9A-Z][0-9]", "curp"),
    _number("nl", "nl.bsn", r"[0-9]{8,9}", "bsn", "burgerservicenummer", "sofinummer"),
    _number("no", "no.fodselsnummer", r"[0-9]{6} ?[0-9]{5}",
            "fødselsnummer", "fnr", "personnummer"),
    _number("nz", "nz.ird", r"[0-9]{2,3}-?[0-9]{3}-?[0-9]{3}", "ird(?: (?:number|no))?"),
    _number("pl", "pl.pesel", _ELEVEN, "pesel"),
    _number("pt", "pt.cc", r"[0-9]{8} ?[0-9] ?[A-Z0-9]{2}[0-9]", "cart[ãa]o de cidad[ãa]o"),
    _number("ro", "ro.cnp", r"[1-9][0-9]{12}", "cnp", "cod numeric personal"),
    _number("se", "se.personnummer", r"(?:[0-9]{2})?[0-9]{6}[-+]?[0-9]{4}", "personnummer", "pnr"),
    _number("th", "th.pin", r"[0-9](?:-?[0-9]{4})-?[0-9]{5}-?[0-9]{2}-?[0-9]", "thai id",
            "เลขประจำตัวประชาชน"),
    _number("tr", "tr.tckimlik", _ELEVEN, "t\\.?c\\.? ?kimlik(?: no)?", "tckn"),
    _number("us", "us.itin", r"9[0-9]{2}-?[0-9]{2}-?[0-9]{4}", "itin"),
    _number("us", "us.ssn", r"[0-9]{3}-?[0-9]{2}-?[0-9]{4}", "ssn", "social security"),
    _number("za", "za.idnr", r"[0-9]{13}", "south african id", "id number", "rsa id"),
    Told("identity.national_id", "gb-nino",
         _words("nino", "national insurance(?: (?:number|no))?", "ni (?:number|no)"),
         _form(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
               r"(?: ?[0-9]{2}){3} ?[A-D]")),
    Told("identity.routing_number", "us-routing",
         _words("routing(?: (?:number|no))?", "aba", "rtn"), _form("[0-9]{9}"), "us.rtn"),
    Told("identity.bank_account", "account-number",
         _words("(?:bank )?account (?:number|no|nr)\\.?", "acct(?:\\.| no)?", "kontonummer"),
         _form("[0-9]{6,17}"), score=0.7),
    Told("identity.crypto_wallet", "bitcoin-address",
         _words("bitcoin", "btc", "wallet", "donat\\w+"),
         _form("(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{25,59}"), "bitcoin", 0.95),
    Told("identity.crypto_wallet", "ethereum-address",
         _words("ethereum", "eth", "wallet", "donat\\w+"),
         _form("0x[0-9a-fA-F]{40}"), score=0.8),
    Told("identity.passport", "passport-number",
         _words("passport(?: (?:number|no|nr))?\\.?", "reisepass(?:nummer)?", "passeport",
                "pasaporte", "passaporto", "paspoort"),
         _form("[A-Z]{0,2}[0-9]{6,9}|[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}"), score=0.8),
    Told("identity.drivers_licence", "drivers-licence",
         _words("driv(?:er'?s?|ing) licen[cs]e(?: (?:number|no))?", "führerschein(?:nummer)?",
                "permis de conduire", "dl (?:number|no)"),
         _form("(?=[A-Z0-9-]*[0-9]{3})[A-Z0-9](?:-?[A-Z0-9]){5,17}"), score=0.75),
    Told("identity.date_of_birth", "date-of-birth",
         _words("born(?: on)?", "d\\.?o\\.?b\\.?", "date of birth", "birth ?(?:date|day)",
                "geboren(?: am)?", "geburtsdatum", "n[ée]e? le", "date de naissance",
                "fecha de nacimiento", "nat[oa] il", "data di nascita", "geboortedatum"),
         _form(_DATE), score=0.8),
)  # fmt: skip

_WAYS: Final = ("straße", "strasse", "str.", "weg", "platz", "allee", "gasse", "straat", "laan")
_RUES: Final = ("rue", "avenue", "boulevard", "place", "chemin", "impasse")
#: Addresses of buildings: the form is enough.
ADDRESSES: Final = (
    re.compile(
        rf"(?<![\w.,:/-])[1-9][0-9]{{0,4}}[A-Za-z]? (?:[NSEW]\.? )?(?:[A-Z][\w'.-]{{1,20}} ){{1,3}}"
        rf"(?:{_STREETS})\b\.?(?:,? (?:Apt|Apartment|Suite|Unit|Flat|#)\.? ?[\w-]{{1,6}})?"
        r"(?:, [A-Z][\w' .-]{1,30}){0,2}(?:,? [A-Z]{2} [0-9]{5}(?:-[0-9]{4})?"
        r"|,? [A-Z]{1,2}[0-9][0-9A-Z]? [0-9][A-Z]{2})?"
    ),
    re.compile(
        r"(?<!\w)[A-ZÄÖÜ][\wäöüß.-]{1,30}[ -]?(?:[Ss]traße|[Ss]trasse|[Ss]tr\.|weg|platz|allee"
        r"|gasse|straat|laan) [1-9][0-9]{0,3} ?[a-z]?\b(?:,? [0-9]{4,5} [A-ZÄÖÜ][\wäöüß-]+)?"
    ),
    re.compile(
        r"(?<![\w.-])[1-9][0-9]{0,3}(?: bis| ter)?,? (?:rue|avenue|boulevard|place|chemin|impasse)"
        r" (?:d(?:e|u|es) |de la |de l'|d')?[A-ZÉ][\w'é-]+(?: [A-Z][\w'é-]+){0,3}"
        r"(?:,? [0-9]{5} [A-Z][\w'é-]+)?"
    ),
)


#: Of the rules, and after them of the addresses.
_SIGNS: Final = Signs(
    [
        *(rule.words.signs for rule in RULES),
        tuple(f" {each.lower()}" for each in _STREETS.split("|")),
        tuple(f"{each} " for each in _WAYS),
        tuple(f"{each} " for each in _RUES),
    ]
)


def find(text: str) -> list[Finding]:
    """The findings in ``text``, line by line, by position; of one span the surest only."""
    findings: dict[tuple[int, int], Finding] = {}
    read = reading(text, letters=False)  # some of the words are in other alphabets
    for start, end in _lines(read.text):
        line = read.text[start:end]
        rules, addresses = rules_for(line)
        for rule in rules:
            for first, last in rule.find(line):
                span = start + first, start + last
                found = Finding(rule.kind, *span, rule.score, rule.name)
                if span not in findings or findings[span].score < rule.score:
                    findings[span] = found
        for pattern in addresses:
            for match in pattern.finditer(line):
                span = start + match.start(), start + match.end()
                findings[span] = Finding("identity.address", *span, 0.7, "postal-address")
    return sorted(
        placed(findings.values(), read), key=lambda each: (each.start, -each.end, each.kind)
    )


def rules_for(line: str) -> tuple[Sequence[Told], Sequence[re.Pattern[str]]]:
    """The rules whose words, and the addresses whose words, may be in ``line``, in their order;
    most lines have few or none."""
    numbers = sorted(_SIGNS.owners(folded(line)))
    told = bisect_left(numbers, len(RULES))
    return (
        [RULES[number] for number in numbers[:told]],
        [ADDRESSES[number - len(RULES)] for number in numbers[told:]],
    )


def _lines(text: str) -> Iterator[tuple[int, int]]:
    """The lines that may hold a value, and each of them once."""
    at = 0
    while (found := _SIGN.search(text, at)) is not None:
        end = text.find("\n", found.start())
        end = len(text) if end < 0 else end
        yield text.rfind("\n", 0, found.start()) + 1, end
        at = end
