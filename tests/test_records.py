"""Refs, the names by which stages meet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.errors import BadRef
from undercroft.records import KINDS, Ref

names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)


@given(st.sampled_from(KINDS), names, st.none() | st.integers(1, 10**6))
def test_a_ref_reads_back_what_it_prints(kind: str, name: str, version: int | None) -> None:
    ref = Ref(kind, name, version)
    assert Ref.parse(str(ref)) == ref


def test_an_alias_is_not_a_version() -> None:
    assert Ref.parse("route:docs@live") == Ref("route", "docs", alias="live")
    assert Ref.parse("model:docs@3") == Ref("model", "docs", version=3)


@pytest.mark.parametrize("text", ["docs", "modle:docs", "model:", "model:docs@", "model:Do cs", ""])
def test_what_is_no_ref_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(BadRef, match="A ref has the form"):
        Ref.parse(text)


def test_a_misspelt_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadRef, match="Did you mean model:"):
        Ref.parse("modle:docs")
