"""A scorecard -> a route, or a reasoned no; how the route meets traffic; and the way back.

Read `gate` first (the pure decision), then `stage` (the route it leads to), `live` (which route is
served: `enact` moves the alias and writes the decision down, `rollback` goes back) and `rollout`
(a new route beside the live one, a share of the traffic at a time). What people bring along has no
scorecard: `remote` makes a model elsewhere known, and `compose` a route by hand.
"""

from __future__ import annotations

from undercroft.release.gate import Verdict, judge
from undercroft.release.live import LIVE, enact, rollback

__all__ = ["LIVE", "Verdict", "enact", "judge", "rollback"]
