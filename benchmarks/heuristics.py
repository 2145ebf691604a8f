"""The Gopher, C4 and FineWeb heuristics against datatrove's filters, on every core.

python -m benchmarks.heuristics [--rounds 5] [--texts 2000]

Texts are recombined from this machine's own documentation (Python's topics and the descriptions of
installed packages): prose, lists, code, repeats and noise, 10 kB on average, so that every rule has
texts on both sides of its threshold. Quality is the share of texts on which both sides decide the
same, by filter; the texts that differ are listed with ``--differences``.
"""

from __future__ import annotations

import argparse
import json
import os
import pydoc_data.topics
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.compare import Result, in_turn, peer_environment, spread, table, version_of
from undercroft.curate.heuristics import measures_of
from undercroft.curate.heuristics.policies import POLICIES, reasons

PEER = ["datatrove==0.10.1", "spacy", "regex", "numpy", "tokenizers", "xxhash<4", "orjson"]
_WANTED_CHARS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description="Our heuristics against datatrove's.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--differences", action="store_true", help="print the texts that differ")
    options = parser.parse_args()
    binaries = peer_environment("datatrove", PEER)
    texts = list(recombined(options.texts, seed=20))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "texts.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        found = in_turn(
            options.rounds, {"ours": lambda: _ours(texts), "peer": lambda: _peer(binaries, path)}
        )
    _report(found, texts, version_of(binaries, "datatrove"), options.differences)


def recombined(count: int, seed: int) -> Iterator[str]:
    """``count`` texts of about 10 kB from this machine's documentation."""
    draw = random.Random(seed)
    pieces = list(paragraphs())
    for _ in range(count):
        wanted = min(draw.lognormvariate(0, 1.2) * _WANTED_CHARS / 2, 8 * _WANTED_CHARS)
        first = draw.randrange(len(pieces))
        chosen: list[str] = []
        while sum(map(len, chosen)) < wanted:
            if draw.random() < 0.05:
                first = draw.randrange(len(pieces))
            chosen.append(pieces[first % len(pieces)])
            first += 1
        yield _disturbed(chosen, draw)


def paragraphs() -> Iterator[str]:
    """The paragraphs of this machine's documentation."""
    for text in _sources():
        yield from (piece for piece in text.split("\n\n") if 0 < len(piece.strip()) < 3000)


def _sources() -> Iterator[str]:
    yield from pydoc_data.topics.topics.values()
    for package in sorted(distributions(), key=lambda each: each.name or ""):
        text = package.metadata.get_payload()
        if isinstance(text, str) and len(text) > 500:
            yield text


def _disturbed(pieces: list[str], draw: random.Random) -> str:
    """Some texts repeat themselves, some become lists, some trail off, most are left alone."""
    if draw.random() < 0.6:  # prose: without the marks of Markdown and of code
        pieces = [re.sub(r"[^\w\s.,?!'\"-]|\bhttps?\S+", "", piece) for piece in pieces]
    kind = draw.random()
    if kind < 0.15:
        pieces += draw.choices(pieces, k=max(1, int(len(pieces) * draw.random() * 0.6)))
        draw.shuffle(pieces)
    elif kind < 0.25:
        pieces = [p.replace("\n", " ") for p in pieces]
    elif kind < 0.3:
        pieces = ["- " + p.replace("\n", "\n- ") for p in pieces]
    elif kind < 0.35:
        pieces = [p.rstrip(".") + "..." if draw.random() < 0.5 else p for p in pieces]
    elif kind < 0.4:
        pieces = [w for p in pieces for w in p.split()[: draw.randint(1, 6)]]
        return " ".join(pieces)
    elif kind < 0.45:
        pieces = [p for p in pieces if draw.random() < 0.5 or "{" not in p]
    return "\n\n".join(pieces)


def _ours(texts: list[str]) -> dict[str, Any]:
    array = pa.array(texts, pa.large_string())
    started = time.monotonic()
    measured = measures_of(array)
    verdicts = {name: reasons(measured, limits) for name, limits in POLICIES.items()}
    return {"seconds": time.monotonic() - started, "verdicts": verdicts}


def _peer(binaries: Path, path: Path) -> dict[str, Any]:
    script = str(Path(__file__).parent / "peers" / "datatrove_filters.py")
    command = [str(binaries / "python"), script, str(path), str(os.cpu_count() or 1)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"datatrove failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _report(found: dict[str, list[Any]], texts: list[str], version: str, differences: bool) -> None:
    speeds = {side: [len(texts) / r["seconds"] for r in rounds] for side, rounds in found.items()}
    ratio = float(np.median([a / b for a, b in zip(*speeds.values(), strict=True)]))
    ours, theirs = found["ours"][0]["verdicts"], found["peer"][0]["verdicts"]
    agreement, rows = {}, []
    for name in POLICIES:
        pairs = [(bool(o), bool(t[name])) for o, t in zip(ours[name], theirs, strict=True)]
        agreement[name] = round(sum(o == t for o, t in pairs) / len(pairs), 4)
        rows.append([name, sum(o for o, _ in pairs), sum(t for _, t in pairs), agreement[name]])
        differing = [
            (number, ours[name][number], theirs[number][name])
            for number, (o, t) in enumerate(pairs)
            if o != t
        ]
        if differences:
            print(name, Counter((o, t) for _, o, t in differing), differing[:5])
    heads = ["filter", "removed by ours", f"by datatrove {version}", "same decision"]
    print(table(heads, rows))
    median = {side: float(np.median(values)) for side, values in speeds.items()}
    print(table(["", "texts/s", "spread"], [[s, median[s], spread(speeds[s])] for s in speeds]))
    Result(
        "heuristics",
        round(median["ours"], 1),
        round(median["peer"], 1),
        round(ratio, 1),
        "texts per second on all cores",
        {"same_decision": agreement, "mean_chars": round(sum(map(len, texts)) / len(texts))},
    ).print()


if __name__ == "__main__":
    main()
