"""Pairs of questions, labelled: whether one answer would do for both.

Two sources: `paraphrases.txt`, written by hand about Python and about what offices, shops and
clinics are asked, and templates over names of the example's corpus, with the near misses that
a vector does not see: another name, number, direction, polarity, kind. The part ``dev`` is for
writing rules and choosing thresholds; ``test`` (`held_out.txt`, other names, other frames) was
written when they stood and serves to report alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

FOLDER = Path(__file__).parent
FILES = {"dev": "paraphrases.txt", "test": "held_out.txt"}

NAMES = (
    "heapq.merge", "heapq.nlargest", "os.path.join", "os.path.split", "json.dumps", "json.loads",
    "shutil.copytree", "shutil.rmtree", "re.match", "re.search", "itertools.chain",
    "itertools.groupby", "functools.reduce", "functools.partial", "asyncio.gather", "asyncio.wait",
    "threading.Lock", "threading.Event", "queue.Queue", "queue.LifoQueue", "random.randint",
    "random.shuffle", "struct.pack", "struct.unpack", "socket.bind", "socket.listen",
    "email.message_from_string", "email.message_from_bytes", "gzip.compress", "gzip.decompress",
)  # fmt: skip
HELD_OUT_NAMES = (
    "bisect.bisect_left", "bisect.insort", "csv.reader", "csv.writer", "base64.b64encode",
    "base64.b64decode", "os.makedirs", "os.removedirs", "math.floor", "math.ceil", "copy.copy",
    "copy.deepcopy", "zlib.compress", "zlib.decompress", "logging.debug", "logging.warning",
    "subprocess.run", "subprocess.check_output", "hashlib.sha256", "hashlib.sha512",
)  # fmt: skip
KINDS_OF_DATA = (
    ("a list", "a tuple"), ("bytes", "text"), ("a date", "a timestamp"), ("XML", "JSON"),
    ("Celsius", "Fahrenheit"), ("a dict", "a list"), ("miles", "kilometres"), ("hex", "decimal"),
    ("a matrix", "an array"), ("Markdown", "HTML"), ("a path", "a URL"), ("euros", "dollars"),
)  # fmt: skip
HELD_OUT_DATA = (
    ("an image", "a thumbnail"), ("YAML", "TOML"), ("a set", "a frozenset"), ("grams", "ounces"),
    ("a string", "a symbol"), ("radians", "degrees"), ("a tree", "a graph"), ("WAV", "MP3"),
)  # fmt: skip
LIMITS = (
    ("a request", "time out"), ("an upload", "fail"), ("a session", "expire"),
    ("a login", "be refused"), ("a worker", "restart"), ("a backup", "be deleted"),
    ("an invoice", "be reminded of"), ("a message", "be dropped"), ("a lease", "end"),
    ("a token", "be renewed"),
)  # fmt: skip
HELD_OUT_LIMITS = (
    ("a parcel", "be returned"), ("a voucher", "expire"), ("a snapshot", "be removed"),
    ("a ticket", "be closed"), ("a certificate", "lapse"), ("an account", "be frozen"),
)  # fmt: skip
CONDITIONS = (
    "the argument is None", "the list is empty", "the server answers", "the user has a key",
    "the disk is full", "the lock is held", "the index is negative", "the file is open",
    "the contract is signed", "the patient is fasting", "the door is locked", "the card is valid",
)  # fmt: skip
HELD_OUT_CONDITIONS = (
    "the queue is full", "the key has a value", "the pool is closed", "the window is dirty",
    "the tenant has a dog", "the flight is delayed", "the buffer is empty", "the form is signed",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two questions; ``same`` when one answer does for both."""

    one: str
    other: str
    same: bool
    source: str  # hand | template


def pairs(part: str) -> list[Pair]:
    """All pairs of ``part``, always the same ones in the same order."""
    if part == "dev":
        made = _by_template(NAMES, KINDS_OF_DATA, LIMITS, CONDITIONS)
    else:
        made = _by_template(HELD_OUT_NAMES, HELD_OUT_DATA, HELD_OUT_LIMITS, HELD_OUT_CONDITIONS)
    return [*_by_hand(FILES[part]), *made]


def _by_hand(file: str) -> Iterator[Pair]:
    for block in (FOLDER / file).read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines:
            same = [line[2:] for line in lines[1:] if line.startswith("=")]
            other = [line[2:] for line in lines[1:] if line.startswith("!")]
            yield from _block("hand", (lines[0], *same), tuple(other))


def _by_template(
    names: Sequence[str],
    kinds: Sequence[tuple[str, str]],
    limits: Sequence[tuple[str, str]],
    conditions: Sequence[str],
) -> Iterator[Pair]:
    for number, name in enumerate(names):
        sibling = names[number ^ 1]
        yield from _block(
            "template",
            (f"What does {name}() do?", f"Describe {name}.", f"Tell me what {name}() does."),
            (f"What does {sibling}() do?", f"Describe {sibling}.", f"What does {name}() not do?",
             f"Who wrote {name}()?"),
        )  # fmt: skip
    for one, other in kinds:
        yield from _block(
            "template",
            (f"How do I convert {one} to {other}?", f"How can I turn {one} into {other}?",
             f"What is the way to convert {one} to {other}?"),
            (f"How do I convert {other} to {one}?", f"How can I turn {other} into {one}?",
             f"When do I convert {one} to {other}?", f"How do I compare {one} with {other}?"),
        )  # fmt: skip
    for number, (thing, event) in enumerate(limits):
        days = number + 3
        yield from _block(
            "template",
            (f"Does {thing} {event} after {days} days?",
             f"Will {thing} {event} after {days} days?"),
            (f"Does {thing} {event} after {days + 10} days?",
             f"Does {thing} {event} after {days} hours?",
             f"Does {thing} {event} before {days} days?",
             f"Does {thing} never {event} after {days} days?"),
        )  # fmt: skip
    for condition in conditions:
        opposite = condition.replace(" is ", " is not ").replace(" has ", " has no ")
        opposite = opposite.replace("answers", "does not answer")
        yield from _block(
            "template",
            (f"What happens if {condition}?", f"What happens when {condition}?",
             f"What if {condition}?"),
            (f"What happens if {opposite}?", f"Why does it matter if {condition}?",
             f"How often does it happen that {condition}?"),
        )  # fmt: skip


def _block(source: str, same: Sequence[str], other: Sequence[str]) -> Iterator[Pair]:
    for one, another in combinations(same, 2):
        yield Pair(one, another, True, source)
    for one in same:
        for another in other:
            yield Pair(one, another, False, source)
