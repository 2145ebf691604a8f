"""The loss of a run in fp16 is scaled, so that small gradients are not rounded to nothing.

The least number of fp16 above 0 is 6e-8, and many gradients are less (Micikevicius et al., "Mixed
Precision Training", 2018, section 3.2). The scale is as large as may be: it is halved when a
gradient overflows, and that step is left out; after some steps without, it is doubled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

#: As `torch.amp.GradScaler` has them.
FIRST: Final = 65536.0
GROW_AFTER: Final = 2000
_LEAST: Final = 1.0


@dataclass
class LossScale:
    """In the checkpoint. ``scale`` multiplies the loss, and 1 is what other formats have for good.

    ``sound`` steps were taken since it last changed.
    """

    is_on: bool
    scale: float = 1.0
    sound: int = 0

    @classmethod
    def of(cls, precision: str) -> LossScale:
        """That of a run which has not begun."""
        return cls(True, FIRST) if precision == "fp16" else cls(False)

    def overflowed(self, loss: float, norm: float) -> bool:
        """Whether a step of this loss and norm is to be left out, since its gradient was too large
        for the scale; the next has another.

        All ranks hear the same numbers, and say the same. A gradient that is not finite at the
        least scale, or of a loss that is not, has other reasons, which are the guard's to judge.
        """
        if not self.is_on:
            return False
        if math.isfinite(norm):
            self.sound += 1
            if self.sound >= GROW_AFTER:
                self.scale, self.sound = self.scale * 2, 0
            return False
        if not math.isfinite(loss) or self.scale <= _LEAST:
            return False
        self.scale, self.sound = self.scale / 2, 0
        return True
