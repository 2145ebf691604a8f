"""A scorecard -> a route, or a reasoned no; and the way back.

Read `gate` first (the pure decision), then `stage` (the route it leads to) and `live` (which route
is served: `promote` moves the alias and writes the decision down, `rollback` goes back).
"""

from __future__ import annotations

from undercroft.release.gate import Verdict, judge
from undercroft.release.live import LIVE, promote, rollback

__all__ = ["LIVE", "Verdict", "judge", "promote", "rollback"]
