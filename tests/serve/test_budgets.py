"""Tokens of a key and a day."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from undercroft.records import Principal
from undercroft.serve.admission.budgets import Budgets, most_tokens
from undercroft.serve.wire.asks import parse_chat
from undercroft.serve.wire.failures import OutOfTokens, TooManyRequests, retry_headers
from undercroft.settings import SamplingSettings

WHO = Principal("key-1", "ada", "user")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 23, 59, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def spend(budgets: Budgets, reserved: int, used: int, who: Principal = WHO) -> None:
    with budgets.reserve(who, reserved) as grant:
        grant.used = used


def test_what_is_reserved_is_settled_to_what_was_used():
    budgets = Budgets(1000)
    with budgets.reserve(WHO, 500) as grant:
        assert budgets.spent(WHO.id) == 500
        grant.used = 20
    assert budgets.spent(WHO.id) == 20


def test_reservations_of_requests_under_way_count():
    budgets = Budgets(1000)
    with budgets.reserve(WHO, 600), pytest.raises(OutOfTokens):
        spend(budgets, 600, 1)
    spend(budgets, 600, 1)


def test_a_request_that_fails_costs_nothing():
    budgets = Budgets(1000)
    with pytest.raises(RuntimeError), budgets.reserve(WHO, 600):
        raise RuntimeError
    assert budgets.spent(WHO.id) == 0


def test_a_key_has_its_own_budget_and_zero_means_none():
    budgets = Budgets(10)
    spend(budgets, 500, 500, Principal("key-2", "bob", "user", 1000))
    with pytest.raises(OutOfTokens):
        spend(budgets, 500, 500)
    spend(Budgets(0), 10**9, 10**9)


def test_a_new_day_begins_at_midnight_utc():
    clock = Clock()
    budgets = Budgets(100, now=clock)
    spend(budgets, 90, 90)
    with pytest.raises(OutOfTokens) as refused:
        spend(budgets, 90, 90)
    assert refused.value.retry_after_s == pytest.approx(30)
    clock.now += timedelta(seconds=31)
    spend(budgets, 90, 90)
    assert budgets.spent(WHO.id) == 90


def test_clients_are_told_not_to_retry_what_is_spent_and_to_come_back_to_what_is_busy():
    busy = dict(retry_headers(TooManyRequests("x", retry_after_s=0.25)))
    spent = dict(retry_headers(OutOfTokens("x", retry_after_s=30)))
    assert busy[b"retry-after-ms"] == b"250"
    assert b"x-should-retry" not in busy
    assert spent[b"x-should-retry"] == b"false"
    assert spent[b"retry-after"] == b"30"


def test_keys_of_a_tenant_share_its_budget_and_their_own_still_holds():
    budgets = Budgets(0, {"acme": 1000})
    one, two = (Principal(f"key-{n}", f"k{n}", "user", None, "acme") for n in (1, 2))
    spend(budgets, 600, 600, one)
    with pytest.raises(OutOfTokens, match="acme"):
        spend(budgets, 600, 600, two)
    spend(budgets, 600, 600, Principal("key-3", "k3", "user", None, "other"))
    poor = Principal("key-4", "k4", "user", 50, "acme")
    with pytest.raises(OutOfTokens, match="key"):
        spend(budgets, 60, 60, poor)
    assert (budgets.spent(tenant="acme"), budgets.spent(one.id)) == (600, 600)


def test_what_keys_spent_before_a_restart_counts_for_their_tenant():
    budgets = Budgets(0, {"acme": 1000})
    budgets.restore({"key-1": 700, "key-9": 200}, {"key-1": "acme", "key-9": "acme"})
    with pytest.raises(OutOfTokens):
        spend(budgets, 200, 0, Principal("key-1", "ada", "user", None, "acme"))


def test_what_was_spent_before_a_restart_counts():
    budgets = Budgets(100)
    budgets.restore({WHO.id: 60})
    with pytest.raises(OutOfTokens):
        spend(budgets, 60, 60)


def test_the_most_a_request_can_cost_counts_its_text_its_passages_and_its_answer():
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 300}], "max_tokens": 50}
    ask = parse_chat(msgspec.json.encode(body), SamplingSettings())
    assert most_tokens(ask, reads=False) == 101 + 50
    assert most_tokens(ask, reads=True) > 151 + 800
