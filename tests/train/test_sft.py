from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from undercroft.records import Example
from undercroft.retrieve.prompt import messages
from undercroft.train.models import folders
from undercroft.train.objectives.objective import objective
from undercroft.train.objectives.sft import SupervisedFineTuning, target


@pytest.fixture
def model(tiny: Path) -> tuple[torch.nn.Module, SupervisedFineTuning]:
    model, tokenizer = folders.load(tiny, "fp32")
    return model, SupervisedFineTuning(tokenizer, "tools", 4096)


def gradients(model: torch.nn.Module) -> torch.Tensor:
    found = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    model.zero_grad()
    return found


def test_the_loss_is_that_of_the_library_on_the_answer_alone(
    model: tuple[torch.nn.Module, SupervisedFineTuning], tiny: Path, examples: list[Example]
) -> None:
    llama, sft = model
    _, tokenizer = folders.load(tiny, "fp32")
    example = examples[0]
    chat = messages(example.question, example.passages, "tools")
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt)["input_ids"]
    answer = tokenizer("Tool 01 is a cup. [1]<|im_end|>")["input_ids"]
    labels = torch.tensor([[-100] * len(ids) + answer])
    expected = llama(input_ids=torch.tensor([ids + answer]), labels=labels).loss
    terms = sft.terms(llama, sft.collate([example]))
    assert terms.count == len(answer)
    assert float(terms.loss_sum.detach() / terms.count) == pytest.approx(
        float(expected.detach()), rel=1e-5
    )


def test_examples_read_behind_one_prefix_give_the_gradient_of_examples_read_apart(
    model: tuple[torch.nn.Module, SupervisedFineTuning], examples: list[Example]
) -> None:
    llama, sft = model
    together = sft.collate(examples[:2])
    sft.terms(llama, together).loss_sum.backward()
    shared = gradients(llama)
    tokens = 0
    for example in examples[:2]:
        batch = sft.collate([example])
        tokens += batch.num_tokens
        sft.terms(llama, batch).loss_sum.backward()
    apart = gradients(llama)
    assert together.num_tokens < 0.7 * tokens
    assert together.num_examples == 2
    assert functional.cosine_similarity(shared, apart, dim=0) > 0.99999
    assert torch.allclose(shared, apart, atol=1e-4)


def test_longer_examples_are_left_out_and_good_ones_beside_them_kept(
    tiny: Path, examples: list[Example]
) -> None:
    _, tokenizer = folders.load(tiny, "fp32")
    limit = SupervisedFineTuning(tokenizer, "tools", 4096).collate(examples[:1]).num_tokens
    sft = SupervisedFineTuning(tokenizer, "tools", limit)
    long = replace(examples[1], question="What is it? " * 50)
    assert sft.collate([long]) is None
    assert sft.collate([long, examples[0]]).ids == (examples[0].id,)
    assert sft.collate(examples[:2]).ids == (examples[0].id,)


def test_the_target_ends_with_its_citations_and_a_refusal_has_none(
    examples: list[Example],
) -> None:
    assert target(replace(examples[0], cited=(1, 3))) == "Tool 01 is a cup. [1][3]"
    refusal = replace(examples[0], answer="The documents do not say.", cited=())
    assert target(refusal) == "The documents do not say."


def test_an_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(Exception, match="nearest is 'sft'"):
        objective("stf", None, "", 0)
