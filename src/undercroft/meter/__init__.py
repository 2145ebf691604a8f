"""What anything that runs costs: time, memory, energy and money.

In: a block of code, or a process tree such as an engine's. Out: a `Footprint`. Energy is read from
the processor's own counters (RAPL) where the system lets us, and otherwise estimated from
utilisation and marked so. Read `meter` first, then `energy` for where the watts come from.
"""

from undercroft.meter.energy import EnergyCounter, estimate_wh
from undercroft.meter.meter import Meter
from undercroft.meter.processes import TreeUsage, tree_usage

__all__ = ["EnergyCounter", "Meter", "TreeUsage", "estimate_wh", "tree_usage"]
