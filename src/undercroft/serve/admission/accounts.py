"""One limit of one day, as far as this gateway is concerned."""

from __future__ import annotations

import math
import time

SLICE = 0.01  # of a limit: what a gateway takes at a time, beyond what its requests need
UNMET = 0.1  # of a limit: what a gateway may spend that never reached the book it shares


class Account:
    """``used`` and ``reserved`` are this gateway's, today; ``before`` is what the journal knew when
    the gateway began; 0 as the ``limit`` is none.

    Where gateways share the limit, this one ``may`` use and reserve so much of it until ``until``
    (monotonic). When it last asked, the others had used or held ``elsewhere``, nobody held
    ``left``, and ``gateways`` held some.
    """

    __slots__ = (
        "asked_at", "before", "elsewhere", "gateways", "is_shared", "left", "limit", "may", "name",
        "reserved", "until", "used",
    )  # fmt: skip

    def __init__(self, name: str, *, limit: float = 0, before: float = 0, shared: bool = False):
        self.name = name
        self.limit = limit
        self.before = before
        self.is_shared = shared
        self.used: float = 0
        self.reserved: float = 0
        self.may: float = 0
        self.elsewhere: float = 0
        self.left: float = 0
        self.gateways = 0  # 0: the book was never reached
        self.until = 0.0
        self.asked_at = 0.0  # monotonic, when somebody last wanted to spend

    @property
    def spent(self) -> float:
        """Used or reserved today by anybody, as far as is known here."""
        return self.used + self.reserved + max(self.before, self.elsewhere)

    @property
    def free(self) -> float:
        """What may be spent now without asking anybody."""
        if not self.limit:
            return math.inf
        here = self.may if self.is_shared else self.limit - self.before
        return here - self.used - self.reserved

    def given(self, may: float, elsewhere: float, gateways: int, until: float) -> None:
        """What the book says, to go by until ``until``."""
        self.elsewhere, self.gateways, self.until = elsewhere, gateways, until
        rest = self.limit - max(elsewhere, self.before)  # the book may have lost what we know
        self.may = min(may, rest)
        self.left = max(0.0, rest - may)

    def cut_off(self, gateways: int) -> None:
        """The book does not answer: go by what is held, and a share of what nobody held; of a
        lease that was given back, by a `SLICE` at most.

        An account that was never asked for may spend `UNMET` of its limit; on a day that began
        since, its part: ``gateways`` is how many there were (0: that is not known).
        """
        if self.until == math.inf:
            return
        if not self.gateways:
            part = self.limit / gateways if gateways else self.limit * UNMET
            self.may = min(part, self.limit - self.before)
        else:
            part = self.left / self.gateways
            is_old = time.monotonic() > self.until
            self.may += min(part, self.limit * SLICE) if is_old else part
        self.left, self.until = 0.0, math.inf
