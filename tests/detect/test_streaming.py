"""No way of cutting a text into pieces shows what masking the whole text hides."""

from __future__ import annotations

import itertools
import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from undercroft.detect import StreamScreen, find, mask
from undercroft.detect.units import MAX_PRIVATE_KEY, MAX_TOKEN

KINDS = ("pii", "secret")
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0011AA\n\n"
    + "\n".join("MIIEpAIBAAKCAQEA" * 4 for _ in range(5))
    + "\nabc=\n-----END RSA PRIVATE KEY-----"
)
VALUES = [
    "ada@lovelace.org",
    "Ada.Byron+x@mail.lovelace.co.uk",
    "+44 20 7946 0958",
    "+1 (415) 555-2671",
    "(415) 555-2671",
    "415-555-2671",
    "4111 1111 1111 1111",
    "4111111111111111",
    "3782 822463 10005",
    "536-22-1234",
    "GB82 WEST 1234 5698 7654 32",
    "MT84MALT011000012345MTLCAST001S",
    "81.2.69.142",
    "2a02:6b8::feed:ff",
    "3c:22:fb:9a:01:7e",
    "AKIAIOSFODNN7QWERTYU",
    "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "xoxb-2488571230-Ab12Cd34Ef56",
    "sk-proj-Zx81kLm0Qw93RtYv52Pn74Bs",
    "uc-Q1w2E3r4T5y6U7i8O9p0A1s2D3f4G5h6J7k8L9z0X1c",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    'password = "hunter2!Qx9"',
    "api_key: 9f8e7d6c5b4a39281706f5e4",
    '{"token": "t0pS3cr3tV4lu3zz"}',
    "postgres://admin:Tr0ub4dor@db.internal/x",
    PEM,
    PEM.replace("\n", "\\n"),
    "eyJhbGciOiJIUzI1NiJ9.eyJ" + "Zm9v" * MAX_TOKEN + ".abc",
]
LONG = [
    "x" * (MAX_TOKEN - 20) + "@lovelace.org",
    "=" * (MAX_TOKEN - 9) + VALUES[0],
    "(" + "1" * 3000,
]
GLUE = [
    "",
    " ",
    "  ",
    "\n",
    "(",
    ")",
    ": ",
    "=",
    "\u00a0",
    "-",
    "@",
    ".",
    '"',
    "\\n",
    "password",
    "é",
]
NOISE = ["the", "with", "1", "2024", "4111", "(555)", "+49", "GB82", "WEST", "::", "a@b", "token:"]

texts = st.lists(st.sampled_from(VALUES + LONG + GLUE * 3 + NOISE * 2) | st.text(max_size=4)).map(
    "".join
)


def streamed(text: str, cuts: list[int], ends_with_piece: bool = False) -> str:
    """What is shown of ``text`` in pieces; the last may come with the end, or before it."""
    screen = StreamScreen(KINDS)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(bounds)]
    last = pieces.pop() if ends_with_piece else ""
    return "".join([*map(screen.feed, pieces), screen.flush(last)])


def whole(text: str) -> str:
    return mask(text, find(text, KINDS), KINDS)


@pytest.mark.parametrize("value", VALUES)
def test_each_value_is_hidden_when_it_comes_character_by_character(value: str) -> None:
    text = f"See {value} and more."
    shown = streamed(text, list(range(len(text))))
    assert shown == whole(text)
    assert shown.startswith("See ")
    assert shown.endswith(" and more.")
    assert "[" in shown
    assert value not in shown


@settings(max_examples=400, deadline=None)
@given(texts, st.lists(st.integers(0, 4000), max_size=30), st.booleans())
@example("4111 1111 1111 1111" * 8, [5, 9, 70], False)
@example("(" * 5 + "415) 555-2671", [1, 2, 3, 7], True)
@example("1 2 3 4 5 6 7 8 9 " * 9 + "4111 1111 1111 1111", [64, 65, 66], False)
def test_every_chunking_gives_what_masking_the_whole_text_gives(
    text: str, cuts: list[int], ends_with_piece: bool
) -> None:
    assert streamed(text, cuts, ends_with_piece) == whole(text)


@settings(max_examples=150, deadline=None)
@given(texts)
def test_one_character_at_a_time_gives_what_masking_the_whole_text_gives(text: str) -> None:
    assert streamed(text, list(range(len(text)))) == whole(text)


@settings(max_examples=100, deadline=None)
@given(texts, st.integers(1, 9))
def test_nothing_shown_early_is_ever_taken_back(text: str, step: int) -> None:
    screen, shown, masked = StreamScreen(KINDS), "", whole(text)
    for start in range(0, len(text), step):
        shown += screen.feed(text[start : start + step])
        assert masked.startswith(shown)


def test_what_is_held_back_is_bounded_by_the_longest_pattern() -> None:
    screen = StreamScreen(KINDS)
    rng = random.Random(1)
    longest = 0
    for _ in range(4000):
        piece = rng.choice(["word ", "4111 1", "x" * 60, PEM[:90], "(", "password=", "\n", "1 "])
        screen.feed(piece)
        longest = max(longest, len(screen._held))
    assert longest <= MAX_PRIVATE_KEY + MAX_TOKEN


def test_in_prose_only_the_word_being_written_is_held_back() -> None:
    screen = StreamScreen(KINDS)
    assert screen.feed("The with statement ") == "The with statement "
    assert screen.feed("wraps a bl") == "wraps a "
    assert screen.feed("ock.") == ""
    assert screen.flush() == "block."


def test_findings_point_at_the_text_as_it_came_in() -> None:
    text = "one two ada@lovelace.org three 81.2.69.142."
    screen = StreamScreen(KINDS)
    for char in text:
        screen.feed(char)
    screen.flush()
    found = [(f.kind, text[f.start : f.end]) for f in screen.findings]
    assert found == [("pii.email", "ada@lovelace.org"), ("pii.ipv4", "81.2.69.142")]


def test_a_screen_of_nothing_passes_everything_at_once() -> None:
    assert StreamScreen(()).feed("ada@lovelace.o") == "ada@lovelace.o"


def test_a_token_of_prose_costs_microseconds() -> None:
    tokens = [
        "The",
        " with",
        " statement",
        " is",
        " used",
        " to",
        " wrap",
        " the",
        " 3.11",
        ".",
    ] * 500
    best = 1.0
    for _ in range(5):
        screen = StreamScreen(KINDS)
        started = time.process_time()
        for token in tokens:
            screen.feed(token)
        best = min(best, (time.process_time() - started) / len(tokens))
    assert best < 30e-6  # about 3 µs on a free core; the margin is for busy ones
