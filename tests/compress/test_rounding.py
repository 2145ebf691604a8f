"""Four bits that are chosen by what a layer is given, and the bytes that they become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from undercroft.compress import export
from undercroft.compress.calibration import WRITTEN, moments, own_words
from undercroft.compress.gguf_export import FORMATS
from undercroft.compress.rounding import BLOCK, LEVELS, rounded
from undercroft.errors import BadInput


def layer(rows: int = 48, columns: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and inputs that depend on each other as a real layer's do."""
    draw = np.random.default_rng(20)
    weight = draw.normal(size=(rows, columns)).astype(np.float32)
    mixed = draw.normal(size=(columns // 4, columns)) + 0.1
    inputs = draw.normal(size=(400, columns // 4)) @ mixed + 0.1 * draw.normal(size=(400, columns))
    return weight, inputs.astype(np.float32)


@pytest.mark.parametrize("kind", list(LEVELS))
def test_the_bytes_mean_to_ggml_what_was_rounded_to(kind: str) -> None:
    from gguf import GGMLQuantizationType, quants

    weight, _ = layer()
    found = rounded(weight, kind)
    read = quants.dequantize(found.packed(), GGMLQuantizationType[kind])
    np.testing.assert_array_equal(read, found.values())
    assert np.abs(read - weight).mean() < 0.12 * np.abs(weight).mean()


@pytest.mark.parametrize("kind", list(LEVELS))
def test_what_a_layer_says_changes_less_when_its_inputs_are_known(kind: str) -> None:
    weight, inputs = layer()
    known = rounded(weight, kind, inputs.T @ inputs / len(inputs)).values()
    plain = rounded(weight, kind).values()

    def lost(found: np.ndarray) -> float:
        return float(((inputs @ (found - weight).T) ** 2).mean())

    assert lost(known) < 0.5 * lost(plain)
    assert np.abs(known - weight).mean() > np.abs(plain - weight).mean()  # and not the weights


def test_rows_of_nothing_stay_nothing() -> None:
    for kind in LEVELS:
        assert not rounded(np.zeros((3, BLOCK), np.float32), kind, np.eye(BLOCK, dtype=np.float32)
                           ).values().any()  # fmt: skip


def test_moments_are_the_mean_of_what_layers_are_given(tiny_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    text = "The with statement runs a block and cleans up after it."
    found = moments(tiny_model, [text, text])
    network = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(tiny_model)(text, add_special_tokens=False).input_ids
    with torch.no_grad():
        last = network.model(torch.tensor([tokens])).last_hidden_state[0]
    expected = (last.T @ last / len(tokens)).numpy()
    np.testing.assert_allclose(found["lm_head.weight"], expected, rtol=1e-3, atol=1e-4)
    assert found["model.layers.0.mlp.down_proj.weight"].shape == (128, 128)
    queries = found["model.layers.1.self_attn.q_proj.weight"]
    np.testing.assert_array_equal(found["model.layers.1.self_attn.v_proj.weight"], queries)
    with pytest.raises(BadInput):
        moments(tiny_model, [""])


def test_a_model_that_read_no_examples_is_rounded_by_its_own_words(tiny_model: Path) -> None:
    texts = own_words(tiny_model, 16)
    assert len(set(texts)) == WRITTEN
    assert own_words(tiny_model, 16) == texts
    assert moments(tiny_model, texts)["lm_head.weight"].any()


def test_an_output_layer_of_its_own_leaves_the_embeddings_whole(
    make_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    from gguf import GGUFReader

    model = make_tiny("LlamaForCausalLM", tie_word_embeddings=True)
    file = export(model, tmp_path / "m.gguf", "iq4_nl")
    kinds = {each.name: each.tensor_type.name for each in GGUFReader(file).tensors}
    assert (kinds["token_embd.weight"], kinds["output.weight"]) == ("Q8_0", "IQ4_NL")
    assert (kinds["blk.0.attn_v.weight"], kinds["blk.0.attn_q.weight"]) == ("Q8_0", "IQ4_NL")
    assert FORMATS["iq4_nl"].is_calibrated
    assert not FORMATS["q4_1"].is_calibrated
