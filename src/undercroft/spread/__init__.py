"""Batches of items -> results, by workers that may die.

`spread` hands batches to workers and gives their results in the order of the batches, whichever
worker was quicker. A batch that kills its worker, takes too long or too much memory is halved
until the one item that does it is alone; that one comes back as `Lost` with the reason, and
everything beside it goes on. Workers are this process, processes of this machine or tasks of a Ray
cluster; the results are the same. Read `work.py` first.
"""

from __future__ import annotations

from undercroft.spread.work import Here, Lost, Workers, hired, spread

__all__ = ["Here", "Lost", "Workers", "hired", "spread"]
