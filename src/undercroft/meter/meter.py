"""`Meter`: what one block of code cost, from its beginning to now or to its end."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from undercroft.meter.energy import EnergyCounter, estimate_wh
from undercroft.meter.processes import TreeUsage, tree_usage
from undercroft.records import Footprint

if TYPE_CHECKING:
    from undercroft.settings import MeterSettings

SAMPLE_EVERY_S = 0.25


class Meter:
    """Context manager measuring the block inside it and the processes it starts.

        with Meter() as meter:
            work()
        print(meter.footprint())

    Peak memory is the largest of samples taken four times a second, at the start and at the end:
    a shorter peak can be missed. What other threads of this process do meanwhile counts too.
    Measured energy is that of the whole machine while the block ran.
    """

    def __init__(
        self, settings: MeterSettings | None = None, counter: EnergyCounter | None = None
    ) -> None:
        from undercroft.settings import MeterSettings

        self._settings = settings or MeterSettings()
        self._counter = counter
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._peak_rss = 0
        self._final: Footprint | None = None

    def __enter__(self) -> Meter:
        self._counter = self._counter or EnergyCounter()
        self._energy_began = self._counter.sample()
        self._began = time.perf_counter()
        self._cpu_began = self._sample().cpu_s
        self._sampler = threading.Thread(target=self._keep_sampling, name="meter", daemon=True)
        self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._sampler.join()
        self._final = self.footprint()

    def footprint(self) -> Footprint:
        """The cost so far; after the block, its final cost."""
        if self._final is not None:
            return self._final
        assert self._counter is not None, "enter the Meter first: with Meter() as meter"
        cpu_s = max(0.0, self._sample().cpu_s - self._cpu_began)
        wall_s = time.perf_counter() - self._began
        if self._counter.readable:
            energy_wh = self._counter.sample() - self._energy_began
        else:
            energy_wh = estimate_wh(cpu_s, wall_s, self._settings)
        return Footprint(
            wall_s=wall_s,
            cpu_s=cpu_s,
            peak_rss_bytes=self._peak_rss,
            energy_wh=energy_wh,
            energy_is="measured" if self._counter.readable else "estimated",
            money=energy_wh / 1000.0 * self._settings.price_per_kwh,
        )

    def _sample(self) -> TreeUsage:
        with self._lock:
            usage = tree_usage()
            self._peak_rss = max(self._peak_rss, usage.rss_bytes)
            if self._counter is not None:
                self._counter.sample()
        return usage

    def _keep_sampling(self) -> None:
        while not self._done.wait(SAMPLE_EVERY_S):
            self._sample()
