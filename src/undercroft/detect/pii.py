"""Rules for personal data: e-mail, phone, US social security, card, IBAN, IP and MAC.

Each pattern is followed by a check that chance does not pass: Luhn, mod 97, the numbering plans
of `phonenumbers`, allocated address space. What stands for nobody is left alone: addresses
reserved for documentation or local use, version numbers, decimal fractions.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from undercroft.detect.rules import Rule, every

# --- e-mail ------------------------------------------------------------------------------------

_EMAIL: Final = re.compile(
    r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[A-Za-z]{2,24}(?![\w-])"
)
#: Names that never belong to anybody (RFC 2606 and 6761, ICANN's ``internal``).
_RESERVED: Final = re.compile(
    r"(?:^|[@.])(?:example\.(?:com|net|org|edu)|example|test|invalid|localhost|local|internal)$",
    re.I,
)
_FILE_SUFFIX: Final = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|ico|css|js|json|html?)$", re.I)
#: Accounts that stand for a service: ``git@host:repository`` is an address of code.
_SERVICES: Final = frozenset({"git", "hg", "svn", "noreply", "no-reply"})


def _is_email(text: str) -> bool:
    local, _, domain = text.partition("@")
    if local.lower() in _SERVICES or local[0] == "." or local[-1] == "." or ".." in local:
        return False
    return not _RESERVED.search("@" + domain) and not _FILE_SUFFIX.search(domain)


# --- phone -------------------------------------------------------------------------------------

_INTERNATIONAL: Final = re.compile(
    r"(?<![\w+])(?:\+|00(?=[1-9]))[1-9](?:[ ().\-/\u00a0]{0,2}[0-9]){6,14}(?![\w+])"
)
#: North American numbers as they are written: without separators they are just ten digits.
_NORTH_AMERICAN: Final = re.compile(
    r"(?<![\w.+%/-])(?:1[ .-])?(?:\([2-9][0-9]{2}\)[ \u00a0]?|[2-9][0-9]{2}([ .-]))"
    r"[2-9][0-9]{2}[ .-][0-9]{4}(?![\w%-]|[./][0-9])"
)

_DECIMAL: Final = re.compile(r"[+0-9]+\.[0-9]+")


def _international(unit: str) -> Iterator[tuple[int, int]]:
    """Numbers with their country's code; digits that follow are left off until it is valid."""
    at = 0
    while (match := _INTERNATIONAL.search(unit, at)) is not None:
        start, end = match.span()
        at = end
        if _DECIMAL.fullmatch(match[0]):
            continue
        while end - start >= 8 and not _is_phone(unit[start:end], None):
            shorter = max(unit.rfind(separator, start, end) for separator in " -./")
            end = len(unit[:shorter].rstrip(" -./()")) if shorter > start else start
        if end - start >= 8:
            yield start, end
        at = max(end, start + 1)


def _is_phone(text: str, region: str | None) -> bool:
    import phonenumbers

    if text.startswith("00"):
        text = "+" + text[2:]
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(text, region)))
    except phonenumbers.NumberParseException:
        return False


def _north_american(unit: str) -> Iterator[tuple[int, int]]:
    return every(_NORTH_AMERICAN, unit, lambda text: _is_phone(text, "US"))


# --- numbers of people and accounts ------------------------------------------------------------

_SSN: Final = re.compile(
    r"(?<![\w.+-])(?!000|666|9)[0-9]{3}([- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![\w+-]|\.[0-9])"
)
#: Printed on sample cards and in advertisements, and void for it (Social Security Administration).
_VOID_SSNS: Final = frozenset({"078051120", "219099999", "457555462"})

#: 13 to 19 digits, in one piece or grouped as on the card.
_CARD: Final = re.compile(
    r"(?<![\w.+])(?<![0-9][.-])(?:[2-6][0-9]{12,18}"
    r"|[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}"
    r"|3[47][0-9]{2}([ -])[0-9]{6}\2[0-9]{5})(?!\w|[.-]?[0-9])"
)
#: Issuer ranges in use: Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay.
_ISSUER: Final = re.compile(
    r"4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|3(?:0[0-5]|[68])|6(?:011|4[4-9]|5)|35|62"
)

_IBAN: Final = re.compile(r"(?<!\w)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}(?!\w)")


def _is_ssn(text: str) -> bool:
    digits = text[:3] + text[4:6] + text[7:]
    return digits not in _VOID_SSNS


def _is_card(text: str) -> bool:
    from stdnum import luhn

    digits = text.replace(" ", "").replace("-", "")
    return (
        _ISSUER.match(digits) is not None
        and len(set(digits)) > 1
        and 13 <= len(digits) <= 19
        and bool(luhn.is_valid(digits))
    )


def _ibans(unit: str) -> Iterator[tuple[int, int]]:
    """Account numbers; words in capitals that follow are left off until mod 97 and length fit."""
    from stdnum import iban

    at = 0
    while (match := _IBAN.search(unit, at)) is not None:
        start, end = match.span()
        at = start + 1
        while end - start >= 15:
            if unit[end - 1] != " " and iban.is_valid(unit[start:end], check_country=False):
                yield start, end
                at = end
                break
            end = unit.rfind(" ", start, end)


# --- addresses of machines ---------------------------------------------------------------------

_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"  # a leading zero may mean octal
_IPV4: Final = re.compile(rf"(?<![\w.+-])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w+-]|\.\w)")
#: 2000::/3 is the only part of the address space given out to hosts (RFC 4291, IANA registry).
_IPV6: Final = re.compile(
    r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:]|\.[0-9])"
)
_MAC: Final = re.compile(
    r"(?<![\w:-])[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:-])"
)
#: The number everybody makes up. (Public resolvers such as 8.8.8.8 count as versions anyhow.)
_INVENTED: Final = frozenset({"123.45.67.89"})
#: Four numbers this small are a version far oftener than an address (1 address in 256 is).
_VERSION_BELOW: Final = 64


def _is_public_ipv4(text: str) -> bool:
    if text in _INVENTED or all(int(part) < _VERSION_BELOW for part in text.split(".")):
        return False
    address = ipaddress.IPv4Address(text)
    return address.is_global and not address.is_multicast


def _is_public_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).is_global
    except ValueError:
        return False


def _is_device(text: str) -> bool:
    octets = text.lower().replace("-", ":")
    is_documentation = octets.startswith("00:00:5e:00:53:")  # RFC 7042
    is_pattern = octets in ("00:11:22:33:44:55", "01:23:45:67:89:ab", "aa:bb:cc:dd:ee:ff")
    return len(set(octets.split(":"))) > 2 and not is_documentation and not is_pattern


# --- the rules ---------------------------------------------------------------------------------

_SIX_DIGITS: Final = re.compile(r"[0-9](?:[ .\-/()\u00a0]{0,2}[0-9]){6}")

RULES: Final = (
    Rule("pii.email", "email", re.compile("@"), lambda u: every(_EMAIL, u, _is_email), 0.95),
    Rule("pii.phone", "phone-international", re.compile(r"\+|00[1-9]"), _international, 0.9),
    Rule("pii.phone", "phone-north-american", _SIX_DIGITS, _north_american, 0.75),
    Rule("pii.ssn", "us-ssn", _SIX_DIGITS, lambda u: every(_SSN, u, _is_ssn), 0.8),
    Rule("pii.card", "card-luhn", _SIX_DIGITS, lambda u: every(_CARD, u, _is_card), 0.9),
    Rule("pii.iban", "iban-mod97", re.compile(r"[A-Z]{2}[0-9]{2}"), _ibans, 0.95),
    Rule(
        "pii.ipv4",
        "ipv4-public",
        re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"),
        lambda u: every(_IPV4, u, _is_public_ipv4),
        0.8,
    ),
    Rule(
        "pii.ipv6",
        "ipv6-public",
        re.compile(r"[23][0-9A-Fa-f]{3}:"),
        lambda u: every(_IPV6, u, _is_public_ipv6),
        0.9,
    ),
    Rule(
        "pii.mac",
        "mac",
        re.compile(r"[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]"),
        lambda u: every(_MAC, u, _is_device),
        0.85,
    ),
)
