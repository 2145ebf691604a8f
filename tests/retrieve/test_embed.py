"""Static embeddings: reading, encoding, and distilling them."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.errors import BadConfig, BadInput
from undercroft.retrieve.distil import distil, locate
from undercroft.retrieve.embed import Embedder


def test_vectors_are_unit_and_alike_for_like_texts(embedder):
    found = embedder.encode(["read a text file", "open a file for reading", "multiply matrices"])
    assert found.shape == (3, embedder.dimensions)
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert found[0] @ found[1] > found[0] @ found[2]


@given(st.lists(st.text(), max_size=4))
def test_any_text_has_a_finite_vector(embedder, texts):
    found = embedder.encode(texts)
    assert found.shape == (len(texts), embedder.dimensions)
    assert np.isfinite(found).all()


def test_a_text_without_tokens_is_the_zero_vector(embedder):
    assert not embedder.encode(["", "  "]).any()


def test_a_folder_without_a_model_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="not a static embedding model"):
        Embedder.load(tmp_path)


def test_loading_and_one_query_are_quick_and_need_no_torch(embedding):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom undercroft.retrieve import Embedder\n"
        f"t = time.perf_counter(); e = Embedder.load(Path({str(embedding)!r}))\n"
        "e.encode(['How does the with statement work?'])\n"
        "print(time.perf_counter() - t, *(m in sys.modules for m in ('torch', 'transformers')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *imported = done.stdout.split()
    assert imported == ["False", "False"]
    assert float(seconds) < 3


@pytest.fixture(scope="module")
def small_transformer(tmp_path_factory) -> Path:
    """A real, if tiny and untrained, BERT with a hundred words."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b"]
    words += [f"word{i}" for i in range(92)]
    (folder / "vocab.txt").write_text("\n".join(words))
    config = transformers.BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_a_distilled_model_is_what_model2vec_reads(small_transformer, tmp_path):
    model2vec = pytest.importorskip("model2vec")
    seen: list[tuple[int, int]] = []
    distil(str(small_transformer), 16, tmp_path / "out", lambda *at: seen.append(at))
    assert seen[-1] == (94, 94)  # all but the special and the unused
    ours = Embedder.load(tmp_path / "out")
    theirs = model2vec.StaticModel.from_pretrained(str(tmp_path / "out"))
    texts = ["word1 word2", "a word50 unknown", "[CLS]"]
    assert ours.dimensions == 16
    assert ours.encode(texts) == pytest.approx(theirs.encode(texts), abs=1e-3)
    assert len(ours.digest) == 64


def test_distilling_is_reproducible(small_transformer, tmp_path):
    for name in ("a", "b"):
        distil(str(small_transformer), 16, tmp_path / name, lambda done, total: None)
    assert Embedder.load(tmp_path / "a").digest == Embedder.load(tmp_path / "b").digest


def test_a_model_that_is_not_there_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadConfig, match=r"index\.embedding"):
        distil(str(tmp_path / "nobody"), 16, tmp_path / "out", lambda done, total: None)


def test_the_bundled_model_is_found_by_its_usual_names():
    began = time.perf_counter()
    assert (Path(locate("sentence-transformers/all-MiniLM-L6-v2")) / "tokenizer.json").exists()
    assert locate("some/other") == "some/other"
    assert time.perf_counter() - began < 1
