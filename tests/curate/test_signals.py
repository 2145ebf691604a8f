"""What the compiled pass measures, against the plain definition of each signal."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undercroft.curate import signals

LETTERS = "abcXYZ éü ,.;-7 4\n\t\n"
texts = st.lists(st.text(alphabet=LETTERS, max_size=120), min_size=1, max_size=6)


def measured(*some: str) -> dict[str, list[float]]:
    columns = signals.measure(pa.array(some, pa.large_string())).columns
    return {name: column.tolist() for name, column in columns.items()}


def words_of(text: str) -> list[str]:
    kept = "".join(char if char.isalnum() else " " for char in text)
    return kept.split()


def duplicate_lines(text: str) -> float:
    lines = [stripped for line in text.split("\n") if (stripped := line.strip(" \t"))]
    repeated = sum(count - 1 for count in Counter(lines).values())
    return repeated / len(lines) if lines else 0.0


def top_ngram(text: str) -> float:
    words = ["".join("0" if c.isdigit() else c for c in word) for word in words_of(text)]
    words = ["".join(c.lower() if c.isascii() else c for c in word) for word in words]
    grams = Counter(zip(words, words[1:], words[2:], strict=False))
    if not grams or max(grams.values()) == 1:
        return 0.0
    most = max(grams.values())
    chars = max(sum(map(len, g)) + 2 for g, n in grams.items() if n == most) * most
    return min(chars / len(text), 1.0)


@settings(max_examples=200, deadline=None)
@given(texts)
def test_every_signal_is_what_its_definition_says(some: list[str]) -> None:
    found = measured(*some)
    for index, text in enumerate(some):
        words = words_of(text)
        assert found["num_chars"][index] == len(text)
        assert found["num_words"][index] == len(words)
        mean = sum(map(len, words)) / len(words) if words else 0.0
        assert found["mean_word_length"][index] == pytest.approx(mean, rel=1e-5)
        symbols = sum(not char.isalpha() and not char.isspace() for char in text)
        share = symbols / len(text) if text else 0.0
        assert found["symbol_ratio"][index] == pytest.approx(share, rel=1e-5)
        assert found["duplicate_line_ratio"][index] == pytest.approx(
            duplicate_lines(text), rel=1e-5
        )
        assert found["top_ngram_ratio"][index] == pytest.approx(top_ngram(text), rel=1e-5)


def test_characters_are_counted_in_every_script() -> None:
    found = measured("Привет мир", "你好\uff0c世界。", "日本語のテスト", "안녕 세상", "naïve 😀 ½")
    assert found["num_chars"] == [10, 6, 7, 5, 9]
    assert found["num_words"] == [2, 4, 7, 2, 1]  # Han and kana: each character is a word


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_text_can_be_measured_and_neighbours_do_not_matter(some: list[str]) -> None:
    together = measured(*some)
    for index, text in enumerate(some):
        alone = measured(text)
        assert all(together[name][index] == alone[name][0] for name in together)


def test_batches_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    some = pa.array([f"some text number {n} " * (n % 9) for n in range(200)], pa.large_string())
    whole = signals.measure(some)
    monkeypatch.setattr(signals, "_BATCH_BYTES", 500)
    pieces = signals.measure(some)
    assert np.array_equal(whole.words, pieces.words)
    assert np.array_equal(whole.starts, pieces.starts)
    for name, column in whole.columns.items():
        assert np.array_equal(column, pieces.columns[name])


def test_a_slice_of_a_column_is_measured_like_the_texts_in_it() -> None:
    column = pa.array(["skip this", "one two three", "four"], pa.large_string())
    assert signals.measure(column.slice(1, 1)).columns["num_words"].tolist() == [3]


def test_the_share_of_certain_words_is_of_each_text_alone() -> None:
    texts = ["We delve into the REALM; it underscores much.", "", "Nothing of the kind is here."]
    measured = signals.measure(pa.array(texts, pa.large_string()))
    assert signals.shares(measured, frozenset({"delve", "realm", "underscores"})).tolist() == [
        3 / 8,
        0,
        0,
    ]
