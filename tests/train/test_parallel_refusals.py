"""What cannot be laid over processes is refused before anything is sent, with what would do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.train.small import Squares, model
from undercroft.errors import BadConfig
from undercroft.settings import ParallelSettings
from undercroft.train.arranging import spread
from undercroft.train.gauges import remember, work_of
from undercroft.train.models import scratch
from undercroft.train.objectives.penalties import Quadratic
from undercroft.train.objectives.preference import FrozenBase, Likelier, stored
from undercroft.train.parallel import stages, tensor
from undercroft.train.parallel.placement import Arrangement, arrange
from undercroft.train.parallel.plan import Plan
from undercroft.train.parallel.team import Alone
from undercroft.train.passes import Passes

SHAPE = scratch.Shape(layers=2, width=32, heads=4, kv_heads=2, vocabulary=50, context=16)


def planned(plan: Plan) -> Alone:
    """A team that would be laid out as ``plan``, if anything were sent."""
    crew = Alone()
    crew.plan = plan
    return crew


@pytest.fixture
def llama() -> Any:
    return scratch.build(SHAPE, "fp32", 0, {})


@pytest.mark.parametrize(
    ("plan", "settings", "said"),
    [
        (Plan(tensor=4), {}, r"2 kv_heads get no even share.* Set it to 2,"),
        (Plan(pipeline=4), {}, r"2 blocks makes no pipeline of 4 stages"),
        (Plan(pipeline=2), {"schedule": "interleaved"}, r"no pipeline of 4 stages"),
        (Plan(pipeline=2, shard=2), {"schedule": "zero_bubble"}, r"1f1b or interleaved, or"),
    ],
)
def test_layouts_that_a_model_does_not_allow(
    llama: Any, plan: Plan, settings: dict[str, Any], said: str
) -> None:
    crew = planned(plan)
    with pytest.raises(BadConfig, match=said):
        spread(llama, crew, ParallelSettings(**settings))


@pytest.mark.parametrize("plan", [Plan(shard=2), Plan(pipeline=2)])
def test_a_model_without_blocks_stays_whole(plan: Plan) -> None:
    with pytest.raises(BadConfig, match="no list of blocks"):
        spread(model(), planned(plan), ParallelSettings())


def test_matrices_that_would_be_added_twice_or_are_none(llama: Any) -> None:
    blocks = dict(enumerate_blocks(llama))
    llama.model.layers[0].self_attn.o_proj = nn.Linear(32, 32)
    with pytest.raises(BadConfig, match="o_proj has a bias"):
        tensor.split(blocks, Alone(), sequence=False)
    llama.model.layers[0].self_attn.o_proj = nn.Identity()
    with pytest.raises(BadConfig, match="o_proj is none"):
        tensor.split(blocks, Alone(), sequence=False)
    with pytest.raises(BadConfig, match="no self_attn"):
        tensor.split({"0": nn.Linear(2, 2)}, Alone(), sequence=False)


def enumerate_blocks(llama: Any) -> list[tuple[str, nn.Module]]:
    return [(f"model.layers.{at}", each) for at, each in enumerate(llama.model.layers)]


@pytest.mark.parametrize(
    "goal", [Squares(), Likelier("dpo", 0.1, FrozenBase())], ids=["unknown", "reads twice"]
)
def test_objectives_that_may_read_a_batch_twice_go_through_no_pipeline(
    llama: Any, goal: Any
) -> None:
    crew = Alone()
    chunks, _ = stages.cut(llama, 0, 2, 1)
    arrange(llama, Arrangement(crew, chunks=chunks, schedule="1f1b"))
    with pytest.raises(BadConfig, match=type(goal).__name__):
        Passes(llama, goal, None, crew)  # type: ignore[arg-type]
    assert Passes(llama, Likelier("dpo", 0.1, stored({})), None, crew)  # type: ignore[arg-type]


def test_a_stage_keeps_its_blocks_under_their_own_names(llama: Any) -> None:
    whole = {name for name, _ in llama.named_parameters()}
    other = scratch.build(SHAPE, "fp32", 0, {})
    work = work_of(llama)
    remember(llama)
    first, last = (stages.cut(each, rank, 2, 1) for rank, each in enumerate((llama, other)))
    names = [{name for name, _ in each.named_parameters()} for each in (llama, other)]
    assert names[0] | names[1] == whole
    assert names[0] & names[1] == first[1] == last[1] == {"model.embed_tokens.weight"}
    assert [chunk.stage for chunk in (*first[0], *last[0])] == [0, 1]
    assert work_of(llama) == work != work_of(other)


def test_penalties_on_weights_want_them_whole() -> None:
    net = model()
    penalty = Quadratic(1.0, {name: torch.zeros(2) for name, _ in net.named_parameters()})
    with pytest.raises(BadConfig, match=r"parallel\.shard and parallel\.tensor to 1"):
        penalty(net, None)  # type: ignore[arg-type]
