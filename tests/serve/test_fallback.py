"""A model elsewhere that stands in, what it costs, and whose key it is asked with."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.serve.scripted import running
from tests.serve.serving import gateway_of, keep, make_project, release
from undercroft.serve.admission.purse import Purse
from undercroft.serve.journal.recorder import Recorder
from undercroft.serve.pools import replicas
from undercroft.serve.wire.failures import OutOfTokens
from undercroft.settings import Settings


@pytest.fixture(scope="module")
def servers():
    with running() as own, running() as other:
        yield own, other


@pytest.fixture(scope="module")
def served(tmp_path_factory, servers):
    """A gateway whose route has a fallback with prices."""
    project = make_project(tmp_path_factory.mktemp("fallback") / "p", cache_entries=0)
    own, other = (
        keep(project, "model", name, {"engine": "remote", "base_url": server.url, **prices})
        for name, server, prices in (
            ("own", servers[0], {}),
            ("other", servers[1], {"price_in": 2e6, "price_out": 5e6}),
        )
    )
    release(project, own, fallback=str(other.ref))
    with gateway_of(project) as gateway:
        yield gateway


def ask(served, number: int):
    with served.client() as client:
        return client.chat.completions.with_raw_response.create(
            model="docs", messages=[{"role": "user", "content": f"{number} script:plain"}]
        )


def test_a_route_without_trouble_needs_no_fallback(served, servers) -> None:
    said = ask(served, 1)
    assert said.headers["x-undercroft-model"] == "model:own@1"
    assert not servers[1].asked
    (row,) = served.rows("requests", f"id = '{said.parse().id}'")
    assert row["cost"] == 0


def test_what_the_own_model_cannot_answer_the_fallback_does_at_its_price(served, servers) -> None:
    servers[0].always = "nonsense"
    said = ask(served, 2)
    servers[0].always = ""
    assert said.parse().choices[0].message.content
    assert "fallback" in said.headers["x-undercroft-degraded"]
    (row,) = served.rows("requests", f"id = '{said.parse().id}'")
    assert row["model"] == "model:other@1"
    assert row["cost"] == pytest.approx(7 * 2 + 3 * 5)


def test_a_remote_model_is_asked_with_the_key_of_the_vault_or_else_the_environment(
    monkeypatch,
) -> None:
    meta = {"engine": "remote", "base_url": "https://x/v1", "key_from": "A_KEY"}
    monkeypatch.setenv("A_KEY", "from-outside")

    def key(kept: dict[str, str]) -> str:
        made = replicas.build(meta, None, Settings(), Path("x.log"), secret=kept.get)
        return made.headers["authorization"]

    assert key({"A_KEY": "from-the-vault"}) == "Bearer from-the-vault"
    assert key({}) == "Bearer from-outside"


def test_money_is_for_the_day_and_what_is_spent_asks_nobody_elsewhere() -> None:
    now = [datetime(2026, 5, 1, 12, tzinfo=UTC)]
    purse = Purse(10.0, lambda: now[0])
    purse.spend(9.0)
    purse.demand("model:big@1")
    purse.spend(2.0)
    with pytest.raises(OutOfTokens, match="model:big@1") as refused:
        purse.demand("model:big@1")
    assert refused.value.retry_after_s == 12 * 3600
    now[0] += timedelta(days=1)
    purse.demand("model:big@1")
    Purse(0.0).demand("model:big@1")


def test_a_gateway_that_starts_again_knows_what_was_spent(served, servers) -> None:
    servers[0].always = "nonsense"
    said = ask(served, 3)
    servers[0].always = ""
    assert served.rows("requests", f"id = '{said.parse().id}'")
    recorder = Recorder(served.project.lake, served.project.state / "spool")
    assert recorder.cost_today() >= 7 * 2 + 3 * 5
