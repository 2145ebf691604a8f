"""Energy from the processor's counters where they can be read, otherwise from utilisation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from undercroft.settings import MeterSettings


POWERCAP = Path("/sys/class/powercap")
_MICROJOULES_PER_WH = 3.6e9
_SECONDS_PER_HOUR = 3600.0


def estimate_wh(cpu_s: float, wall_s: float, settings: MeterSettings) -> float:
    """Watt-hours from utilisation: the idle power for ``wall_s`` and each core's for ``cpu_s``.

    A linear model of power over utilisation, the usual one where no counter can be read (Fan,
    Weber & Barroso 2007, "Power provisioning for a warehouse-sized computer").
    """
    joules = settings.watts_idle * wall_s + settings.watts_per_core * cpu_s
    return joules / _SECONDS_PER_HOUR


class EnergyCounter:
    """The running-average-power-limit counters of all packages and their memory, in one sum.

    The kernel lets only root read them by default (CVE-2020-8694), so `readable` is often false.
    The counters count the whole machine, not one process.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = [zone for zone in sorted(root.glob("*rapl:*")) if _counts(zone)]
        self._last: dict[Path, int] = {}
        self._total_uj = 0
        self.sample()

    @property
    def readable(self) -> bool:
        return bool(self._zones)

    def sample(self) -> float:
        """Watt-hours since the counter was made. Call it more often than a counter wraps
        (some minutes at full load), or a turn is lost."""
        for zone in self._zones:
            now = _read(zone / "energy_uj")
            if now is None:
                continue
            gone = now - self._last.get(zone, now)
            if gone < 0:  # wrapped
                gone += (_read(zone / "max_energy_range_uj") or 0) + 1
            self._total_uj += gone
            self._last[zone] = now
        return self._total_uj / _MICROJOULES_PER_WH


def _counts(zone: Path) -> bool:
    """Packages and memory; cores and uncore lie inside a package and would count twice."""
    try:
        name = (zone / "name").read_text().strip()
    except OSError:
        return False
    return name.startswith(("package", "dram")) and _read(zone / "energy_uj") is not None


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
