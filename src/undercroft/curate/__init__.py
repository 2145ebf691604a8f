"""A version of the raw table in, a dataset version out.

Main text is extracted, every document measured in one compiled pass (`kernels`), duplicates found
and verified, personal data and secrets located; then the policy (`policy`) keeps, removes with a
reason and a value, and masks. Signals never decide. Read `stage.py` first, then `policy.py`.
"""

from undercroft.curate.policy import Rule, Verdict
from undercroft.curate.removed import Removed, removed

__all__ = ["Removed", "Rule", "Verdict", "removed"]
