"""Budgets in the ledger's database, whichever it is."""

from __future__ import annotations

from undercroft.ledger import Ledger
from undercroft.serve.sharing.books import LedgerBook
from undercroft.serve.sharing.leases import Want


async def test_what_one_holds_another_lacks_until_it_lapses(ledger: Ledger) -> None:
    one, other = (LedgerBook(ledger.engine, "docs", name) for name in ("a", "b"))
    want = Want("key", 100.0, used=20.0, reserved=0.0, need=30.0, spare=10.0)
    (given,) = await one.draw("2026-11-27", [want], 60.0)
    assert (given.held, given.elsewhere, given.gateways) == (40.0, 0.0, 1)
    more = Want("key", 100.0, used=0.0, reserved=0.0, need=50.0, spare=0.0)
    (given,) = await other.draw("2026-11-27", [more], 60.0)
    assert (given.held, given.elsewhere, given.gateways) == (0.0, 60.0, 2)
    await one.draw("2026-11-27", [want], 0.0)
    (given,) = await other.draw("2026-11-27", [more], 60.0)
    assert (given.held, given.elsewhere, given.gateways) == (50.0, 20.0, 1)
    (given,) = await other.draw("2026-11-28", [more], 60.0)
    assert given.elsewhere == 0.0, "a new day"
