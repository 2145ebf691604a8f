"""What alignment may not lose."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from undercroft.errors import StageFailed
from undercroft.train.models import folders
from undercroft.train.soundness import Soundness, circles, demand_sound, listen

PARENT = Soundness(perplexity=20.0, answer_tokens=40.0, empty=0.0, circling=0.25, prompts=16)


def test_an_answer_that_repeats_itself_goes_in_circles() -> None:
    assert circles([1, 2, 3, 4] * 5)
    assert circles([7] * 12)
    assert not circles([1, 2, 3, 1, 2, 3, 4, 5, 6, 7])
    assert not circles([])
    assert not circles([1, 2])


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ({"perplexity": 25.0}, r"1\.25 times"),
        ({"perplexity": math.nan}, "nan times"),
        ({"empty": 0.2}, "20% of its answers are empty"),
        ({"circling": 0.5}, "50% of its answers go in circles, of the parent's 25%"),
    ],
)
def test_each_loss_is_refused_by_name(lost: dict[str, float], said: str) -> None:
    with pytest.raises(StageFailed, match="talks worse") as error:
        demand_sound(PARENT, replace(PARENT, **lost), 1.2)
    assert re.search(said, str(error.value))
    demand_sound(PARENT, replace(PARENT, **lost), 0)


def test_short_answers_are_no_loss() -> None:
    demand_sound(PARENT, replace(PARENT, perplexity=23.9, answer_tokens=6.0, empty=0.1), 1.2)


def test_a_model_that_guesses_evenly_has_the_perplexity_of_its_vocabulary(tiny: Path) -> None:
    model, tokenizer = folders.load(tiny, "fp32")
    with torch.no_grad():
        model.lm_head.weight.zero_()
    chat = [{"role": "user", "content": "Is it?"}]
    prompts = [
        tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        for turns in (chat, [*chat, *chat])
    ]
    found = listen(model, tokenizer, prompts)
    assert found.perplexity == pytest.approx(model.config.vocab_size, rel=1e-4)
    assert (found.prompts, found.answer_tokens, found.empty, found.circling) == (2, 48.0, 0.0, 1.0)
