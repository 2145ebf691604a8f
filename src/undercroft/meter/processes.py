"""Processor time and memory of a process and everything it started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TreeUsage:
    """Since the processes began: seconds of processor time; now: bytes of resident memory."""

    cpu_s: float
    rss_bytes: int


def tree_usage(pid: int | None = None) -> TreeUsage:
    """Usage of ``pid`` (this process if None), its descendants and the children it has reaped.

    Reaped children move from the living to their parent's own count, so the difference of two
    calls is right whoever ended between them. Memory shared by forked processes counts in each.
    A process that is gone counts nothing.
    """
    import psutil

    cpu_s = 0.0
    rss_bytes = 0
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return TreeUsage(0.0, 0)
    for process in tree:
        try:
            with process.oneshot():
                times = process.cpu_times()
                rss = process.memory_info().rss
        except psutil.Error:  # ended while we looked
            continue
        cpu_s += times.user + times.system + times.children_user + times.children_system
        rss_bytes += rss
    return TreeUsage(cpu_s, rss_bytes)
