"""The published heuristics: words as spaCy 3.8 gives them, numbers as plain Python counts them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undercroft.curate.compiled import drop_stale
from undercroft.curate.heuristics import characters, exceptions, measures_of, words
from undercroft.curate.heuristics.measures import COLUMNS
from undercroft.curate.heuristics.policies import (
    C4,
    FINEWEB,
    GOPHER_QUALITY,
    GOPHER_REPETITION,
    reasons,
)

#: Texts and their words, separated by blanks, by spaCy's English tokenizer.
WORDS = {
    "Don't stop: it's Dr. Smith's 10km run (really)!": "Do n't stop : it 's Dr. Smith 's 10 km run "
    "( really ) !",
    "He said, \"I can't -- won't -- go.\" Then... nothing.": "He said , \" I ca n't -- wo n't -- "
    'go . " Then ... nothing .',
    "See https://example.org/a-b?c=1, or mail me@host.example.org.": "See "
    "https://example.org/a-b?c=1 , or mail me@host.example.org .",
    "well-known 32-bit e.g. U.S. cars cost $5.50 (50% off).": "well - known 32 - bit e.g. U.S. "
    "cars cost $ 5.50 ( 50 % off ) .",
    "foo.Bar regex.Match README.md a/b and/or x=1 3*4 1,000 a,b": "foo . Bar regex . Match "
    "README.md a / b and/or x=1 3 * 4 1,000 a , b",
    "naïve café 北京 это тест. Été… fin": "naïve café 北京 это тест . Été … fin",
    "They've gone; we'd've stayed :-) at 10am -- I'm sure C++ isn't it?": "They 've gone ; we 'd "
    "'ve stayed :-) at 10 am -- I 'm sure C++ is n't it ?",
    "**bold** `code` [link](http://x.io) #tag @you ~approx~ A.B.C. no.": "* * bold * * ` code ` "
    "[ link](http://x.io ) # tag @you ~approx~ A.B.C. no .",
    "rock'n'roll o'clock y'all 'em ''quoted'' ‘curly’ don’t": "rock'n'roll o'clock y' all 'em '' "
    "quoted '' ‘ curly ’ do n’t",
    "█▉ 100%| ok|. ID. USA. a. I. 5. x%. §4 =eq —dash–": "█ ▉ 100%| ok| . ID . USA . a. I. 5 . x% "
    ". § 4 = eq — dash –",
}


def words_in(text: str) -> list[str]:
    codes = np.array([ord(char) for char in text], np.uint32)
    spans = np.empty((len(text) + 2, 2), np.int32)
    flags = characters.flags()[codes]
    used = words.find(codes, flags, exceptions.table(), spans)
    return [text[begin:end] for begin, end in spans[:used]]


def measured(*texts: str, threads: int = 1) -> list[dict[str, float]]:
    rows = measures_of(pa.array(texts, pa.large_string()), threads)
    return [dict(zip(COLUMNS, row.tolist(), strict=True)) for row in rows]


@pytest.mark.parametrize("text", WORDS)
def test_words_are_those_of_the_tokenizer_that_thresholds_were_tuned_on(text: str) -> None:
    assert " ".join(words_in(text)) == WORDS[text]


@given(st.text(alphabet=st.sampled_from("ab A.'’-–5%$,!?:/@()[]\n\t=é北…█s"), max_size=80))
@settings(max_examples=300, deadline=None)
def test_no_character_but_white_space_is_lost_between_words(text: str) -> None:
    assert "".join(words_in(text)) == "".join(text.split())


def repeats(pieces: Sequence[str]) -> tuple[int, int]:
    seen: set[str] = set()
    again = [piece for piece in pieces if piece in seen or seen.add(piece)]
    return len(again), sum(map(len, again))


def top_ngram(found: Sequence[str], n: int) -> int:
    grams = [" ".join(found[i : i + n]) for i in range(len(found) - n + 1)]
    if not grams:
        return 0
    gram, count = Counter(grams).most_common(1)[0]
    return len(gram) * count


def repeated_ngrams(found: Sequence[str], n: int) -> int:
    seen, at, chars = set(), 0, 0
    while at <= len(found) - n:
        gram = tuple(found[at : at + n])
        if gram in seen:
            chars, at = chars + sum(map(len, gram)), at + n
        else:
            seen.add(gram)
            at += 1
    return chars


def expected(text: str) -> dict[str, float]:
    """Some of the measures, counted the slow way."""
    found = words_in(text)
    lines = text.splitlines()
    shown = [line for line in text.split("\n") if line.strip()]
    paragraphs, parts = re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)
    count, size = max(len(found), 1), len(text)
    return {
        "words": len(found),
        "hash_ratio": text.count("#") / count,
        "ellipsis_ratio": (text.count("...") + text.count("…")) / count,
        "bullet_lines": sum(line.lstrip()[:1] in {"•", "-"} for line in lines) / len(lines),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines),
        "letter_words": sum(any(map(str.isalpha, word)) for word in found) / count,
        "stop_words": len({"the", "be", "to", "of", "and", "that", "have", "with"} & set(found)),
        "repeated_lines": repeats(parts)[0] / len(parts),
        "repeated_line_chars": repeats(parts)[1] / size,
        "repeated_paragraphs": repeats(paragraphs)[0] / len(paragraphs),
        "repeated_paragraph_chars": repeats(paragraphs)[1] / size,
        **{f"top_{n}gram": top_ngram(found, n) / size for n in (2, 3, 4)},
        **{f"repeated_{n}gram": repeated_ngrams(found, n) / size for n in range(5, 11)},
        "short_lines": sum(len(line) <= 30 for line in shown) / max(len(shown), 1),
        "repeated_text_lines": repeats(shown)[1] / max(len(text.replace("\n", "")), 1),
        "newlines_per_word": text.count("\n") / count,
    }


TOKENS = st.sampled_from(
    ["the", "of", "and", "word", "Ünïcode", "北京", "#", "...", "…", "-", "•", "\n", "\n\n", "\r\n",
     "\x0b", "don't", "A line that is long enough to be no short one, surely.", ".", "the", "😀"]
)  # fmt: skip


@given(st.lists(TOKENS, min_size=1, max_size=60), st.sampled_from([" ", ""]))
@settings(max_examples=300, deadline=None)
def test_measures_are_what_plain_python_counts(tokens: list[str], between: str) -> None:
    text = between.join(tokens)
    row = measured(text)[0]
    for name, value in expected(text).items():
        assert row[name] == pytest.approx(value), name


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One is it. Two is it? Three is it! Four is not the end.", 4),
        ("e.g. this is one. And Dr. No is two.", 2),
        ('He said "No." Then left.', 2),
        ("Wait... what?! Yes, it is.", 2),
        ("Too short.\nNo end here at all\nThis one counts, it does.", 1),
        ("A cited fact stands here.[12] More.", 2),
        ("A cited fact stands here.[citation needed]", 1),
        ("We use cookies on this site.\nEnable JavaScript to go on.", 0),
        ("This trails off into nothing...", 0),
    ],
)
def test_sentences_are_counted_in_the_lines_that_c4_keeps(text: str, sentences: int) -> None:
    row = measured(text)[0]
    assert (row["c4_sentences"], row["c4_banned"]) == (sentences, 0)


def test_one_line_of_code_or_filler_bans_a_text() -> None:
    rows = measured("It is { a brace.", "There is Lorem Ipsum here.", "{ no end of sentence")
    assert [row["c4_banned"] for row in rows] == [1, 1, 0]


def test_the_first_rule_that_holds_names_the_reason() -> None:
    prose = "\n".join(f"It is the {n}th sentence of a text with nothing to hide." for n in range(9))
    rows = measures_of(pa.array([prose, "spam " * 60, "", "a {b}. " * 60], pa.large_string()))
    found = list(reasons(rows, GOPHER_QUALITY))
    assert found == ["", "stop_words", "spoken_words", "mean_spoken_length"]
    assert reasons(rows, GOPHER_REPETITION)[1] == "top_2gram"
    assert list(reasons(rows, C4)) == ["", "c4_sentences", "c4_sentences", "c4_banned"]
    assert list(reasons(rows, FINEWEB))[1:3] == ["punctuated_lines", "punctuated_lines"]


def test_the_result_depends_neither_on_threads_nor_on_neighbours() -> None:
    texts = [f"The text number {n}, {'again ' * (n % 50)}and an end. " * 40 for n in range(2000)]
    together = measured(*texts, threads=3)
    assert together == measured(*texts, threads=1)
    assert together[7] == measured(texts[7])[0]


def test_compiled_code_of_other_source_is_dropped(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    drop_stale(str(package / "__init__.py"))
    old = package / "__pycache__" / "loops.find-1.py311.nbi"
    old.write_text("compiled")
    drop_stale(str(package / "__init__.py"))
    assert old.exists()
    (package / "helpers.py").write_text("changed = True")
    drop_stale(str(package / "__init__.py"))
    assert not old.exists()
