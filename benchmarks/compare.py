"""What every benchmark shares: the peer's environment, rounds in turn, and the last line.

The last line is ``{name, ours, peer, ratio, unit, quality}``; a ratio over 1 means that ours is
better, whichever way the unit counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / ".peers"


@dataclass(frozen=True)
class Result:
    """The outcome of one benchmark; ``ours`` and ``peer`` are in ``unit``."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str
    quality: Mapping[str, Any] = field(default_factory=dict)

    def print(self) -> None:
        """Print the last line."""
        print(json.dumps(asdict(self)), flush=True)


def peer_environment(name: str, requirements: Sequence[str]) -> Path:
    """The ``bin`` folder of the peer's virtual environment, made and filled when it is new."""
    folder = PEERS / name
    done = folder / "installed.txt"
    wanted = "\n".join(requirements)
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {', '.join(requirements)} into {folder} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *requirements], check=True, stderr=subprocess.DEVNULL)
        done.write_text(wanted)
    return folder / "bin"


def environment() -> dict[str, str]:
    """The variables to run programs with: as wherever they are installed, bytecode is kept."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(PEERS / "bytecode")}


def last_line(command: Sequence[str], extra: Mapping[str, str] | None = None) -> Any:
    """The JSON that ``command`` prints last; the variables ``extra`` are added to `environment`.
    Ends the benchmark with what the command complained of where it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment() | (extra or {})
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:3])} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def version_of(binaries: Path, package: str) -> str:
    """The version of ``package`` in a peer's environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    found = subprocess.run(
        [str(binaries / "python"), "-c", code], check=True, capture_output=True, text=True
    )
    return found.stdout.strip()


def in_turn(
    rounds: int, sides: Mapping[str, Callable[[], Any]], warm_up: int = 1
) -> dict[str, list[Any]]:
    """Run every side once per round, in an order that turns; what each gave, round by round.

    The first ``warm_up`` rounds are left out. Turning the order keeps a machine that grows warmer
    or busier from favouring one side.
    """
    found: dict[str, list[Any]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(warm_up + rounds):
        shift = number % len(names)
        for name in (*names[shift:], *names[:shift]):
            outcome = sides[name]()
            if number >= warm_up:
                found[name].append(outcome)
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def spread(values: Sequence[float]) -> float:
    """Half the distance between the quartiles, relative to the median."""
    middle = statistics.median(values)
    if len(values) < 2 or not middle:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / abs(middle)


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns of text; the first is left-aligned, numbers stand right."""
    cells = [list(map(str, heads)), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _shown(cell: Any) -> str:
    return f"{cell:,.3f}" if isinstance(cell, float) else str(cell)
