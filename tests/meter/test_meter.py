"""What a block of code costs, and where its energy figure comes from."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from undercroft.meter import EnergyCounter, Meter, estimate_wh, tree_usage
from undercroft.settings import MeterSettings

SPIN = "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.4: pass"


def spin(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass


def rapl(root: Path, zone: str, name: str, energy_uj: int, wraps_at: int = 1_000_000) -> Path:
    folder = root / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(name)
    (folder / "energy_uj").write_text(str(energy_uj))
    (folder / "max_energy_range_uj").write_text(str(wraps_at - 1))
    return folder / "energy_uj"


def test_own_processor_time_is_counted():
    with Meter() as meter:
        spin(0.3)
    cost = meter.footprint()
    assert 0.25 <= cost.cpu_s <= 0.6
    assert cost.wall_s >= cost.cpu_s * 0.5


def test_children_count_while_they_live_and_after_they_ended():
    with Meter() as meter:
        child = subprocess.Popen([sys.executable, "-c", SPIN + "\ntime.sleep(20)"])
        deadline = time.monotonic() + 8
        while meter.footprint().cpu_s < 0.35 and time.monotonic() < deadline:
            time.sleep(0.05)
        living = meter.footprint().cpu_s
        child.kill()
        child.wait()
    assert living >= 0.35
    assert meter.footprint().cpu_s >= living * 0.95


def test_a_peak_between_start_and_end_is_seen():
    with Meter() as meter:
        before = tree_usage().rss_bytes
        block = bytearray(80 << 20)
        block[::4096] = b"x" * len(block[::4096])
        time.sleep(0.4)
        del block
    assert meter.footprint().peak_rss_bytes >= before + (60 << 20)


def test_the_cost_stands_still_after_the_block():
    with Meter() as meter:
        pass
    first = meter.footprint()
    time.sleep(0.05)
    assert meter.footprint() == first


def test_energy_is_estimated_and_marked_where_no_counter_can_be_read(tmp_path):
    settings = MeterSettings(watts_idle=0, watts_per_core=3600, price_per_kwh=1000)
    with Meter(settings, EnergyCounter(tmp_path)) as meter:
        spin(0.1)
    cost = meter.footprint()
    assert cost.energy_is == "estimated"
    assert cost.energy_wh == pytest.approx(cost.cpu_s)
    assert cost.money == pytest.approx(cost.energy_wh)


def test_the_estimate_is_idle_power_plus_power_per_busy_core():
    settings = MeterSettings(watts_idle=10, watts_per_core=8)
    assert estimate_wh(cpu_s=3600, wall_s=1800, settings=settings) == pytest.approx(5 + 8)


def test_energy_is_measured_where_counters_can_be_read(tmp_path):
    package = rapl(tmp_path, "intel-rapl:0", "package-0", 500_000)
    memory = rapl(tmp_path, "intel-rapl:0:2", "dram", 100)
    core = rapl(tmp_path, "intel-rapl:0:0", "core", 0)
    with Meter(counter=EnergyCounter(tmp_path)) as meter:
        package.write_text("860000")  # +0.36 J = 0.1 mWh
        memory.write_text("360100")
        core.write_text("300000")  # inside the package: not counted again
    cost = meter.footprint()
    assert cost.energy_is == "measured"
    assert cost.energy_wh == pytest.approx(0.0002)


def test_a_counter_that_wraps_loses_nothing(tmp_path):
    package = rapl(tmp_path, "intel-rapl:0", "package-0", 999_000, wraps_at=1_000_000)
    counter = EnergyCounter(tmp_path)
    package.write_text("1000")
    assert counter.sample() == pytest.approx(2000 / 3.6e9)


def test_a_process_that_is_gone_counts_nothing():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert tree_usage(child.pid).cpu_s == 0.0
