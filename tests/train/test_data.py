from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from undercroft.records import Example
from undercroft.train.samples.data import thinned


def example(number: int, answerable: bool) -> Example:
    return Example(
        id=str(number), kind="heading", question="?", passages=(), answer="!", cited=(),
        answerable=answerable, group="g",
    )  # fmt: skip


@given(st.lists(st.booleans(), max_size=200), st.floats(0, 0.9), st.integers(0, 9))
def test_only_unanswerable_examples_are_left_out_and_no_more_than_needed(
    answerable: list[bool], share: float, seed: int
) -> None:
    examples = [example(number, yes) for number, yes in enumerate(answerable)]
    kept = thinned(examples, share, seed)
    assert kept == thinned(examples, share, seed)
    assert [each.id for each in kept] == sorted((each.id for each in kept), key=int)
    assert [each for each in kept if each.answerable] == [e for e in examples if e.answerable]
    refusals = sum(not each.answerable for each in kept)
    most = round(share / (1 - share) * sum(answerable))
    assert refusals == min(most, len(answerable) - sum(answerable))
