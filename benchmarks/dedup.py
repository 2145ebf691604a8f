"""Near-duplicate removal, from JSON Lines to JSON Lines, against datatrove's four stages.

python -m benchmarks.dedup [--rounds 5] [--texts 2000]

A quarter of the texts are copies with some words changed, so that their exact Jaccard with the
text they were made from lies between 0.6 and 1. Both sides take 14 bands of 8 hashes over 5-grams
of words. Quality is judged by an exact oracle over plain sets of 5-grams: recall over the planted
pairs of Jaccard 0.8 and more; precision is the share of removed texts that are alike to a text that
stayed (Jaccard 0.8 or more, or contained in it).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.compare import Result, in_turn, peer_environment, spread, table, version_of
from benchmarks.heuristics import PEER, recombined

FILES = 4
THRESHOLD = 0.8
Shingles = frozenset[tuple[str, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Our near-duplicate removal against datatrove's.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=2000)
    options = parser.parse_args()
    binaries = peer_environment("datatrove", PEER)
    texts, pairs = planted(options.texts, seed=20)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source"
        _write(texts, source)
        sides = {
            "ours": lambda: _ours(source, Path(name) / "ours"),
            "peer": lambda: _peer(binaries, source, Path(name)),
        }
        found = in_turn(options.rounds, sides)
    quality = {side: _quality(texts, pairs, found[side][0]["kept"]) for side in found}
    _report(found, len(texts), quality, version_of(binaries, "datatrove"))


def planted(count: int, seed: int) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """``count`` texts by id, and the pairs of a text and its changed copy among them."""
    draw = random.Random(seed)
    originals = [t for t in recombined(count - count // 4, seed) if len(t.split()) > 60]
    texts = {f"o{number:06}": text for number, text in enumerate(originals)}
    pairs = []
    for number in range(count // 4):
        original = draw.choice(list(texts)[: len(originals)])
        # One changed word changes five 5-grams on both sides.
        share = draw.uniform(0.0, 0.05)
        words = re.split(r"(\s+)", texts[original])
        changed = [f"x{draw.random()}" if w.strip() and draw.random() < share else w for w in words]
        copy = f"c{number:06}"
        texts[copy] = "".join(changed)
        pairs.append((original, copy))
    order = list(texts)
    draw.shuffle(order)
    return {name: texts[name] for name in order}, pairs


def _write(texts: Mapping[str, str], folder: Path) -> None:
    folder.mkdir()
    names = list(texts)
    for part in range(FILES):
        lines = (json.dumps({"id": n, "text": texts[n]}) + "\n" for n in names[part::FILES])
        (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")


def _ours(source: Path, out: Path) -> dict[str, Any]:
    from undercroft.curate import duplicates
    from undercroft.curate.groups import Corpus

    started = time.monotonic()
    lines = [line for path in sorted(source.iterdir()) for line in path.open(encoding="utf-8")]
    rows = [json.loads(line) for line in lines]
    names, every = [row["id"] for row in rows], pa.array(row["text"] for row in rows)
    corpus = Corpus.of({row["id"]: row["text"] for row in rows})
    copied = duplicates.exact(corpus) >= 0
    near = duplicates.near(
        corpus, lambda some: every.take(pa.array(some)).cast("large_string"), THRESHOLD, copied
    ).near
    stays = [number not in near and not copied[number] for number in range(len(rows))]
    out.mkdir(exist_ok=True)
    with (out / "kept.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(line for line, stay in zip(lines, stays, strict=True) if stay)
    seconds = time.monotonic() - started
    return {"seconds": seconds, "kept": [n for n, stay in zip(names, stays, strict=True) if stay]}


def _peer(binaries: Path, source: Path, folder: Path) -> dict[str, Any]:
    script = str(Path(__file__).parent / "peers" / "datatrove_minhash.py")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        command = [
            *(str(binaries / "python"), script, str(source), work),
            str(os.cpu_count() or 1),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"datatrove failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _quality(
    texts: Mapping[str, str], pairs: Sequence[tuple[str, str]], kept: Sequence[str]
) -> dict[str, float]:
    stays = set(kept)
    shingles = {name: _shingles(text) for name, text in texts.items()}
    alike = [(a, b) for a, b in pairs if _jaccard(shingles[a], shingles[b]) >= THRESHOLD]
    caught = sum(not (a in stays and b in stays) for a, b in alike)
    holders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in stays:
        for shingle in shingles[name]:
            holders[shingle].append(name)
    removed = [name for name in texts if name not in stays]
    wrong = sum(not _has_its_like(shingles[name], shingles, holders) for name in removed)
    return {
        "removed": len(removed),
        "recall": round(caught / max(len(alike), 1), 4),
        "wrongly_removed": wrong,
        "precision": round(1 - wrong / max(len(removed), 1), 4),
    }


def _shingles(text: str) -> Shingles:
    words = re.sub(r"\d", "0", text.lower())
    found = re.findall(r"[^\W_]+", words)
    return frozenset(tuple(found[i : i + 5]) for i in range(len(found) - 4))


def _jaccard(one: Shingles, other: Shingles) -> float:
    return len(one & other) / max(len(one | other), 1)


def _has_its_like(
    own: Shingles,
    shingles: Mapping[str, Shingles],
    holders: Mapping[tuple[str, ...], Sequence[str]],
) -> bool:
    """Whether a text that stays is alike, or holds all of this one."""
    shared = Counter(name for shingle in own for name in holders.get(shingle, ()))
    return any(
        common == len(own) or common / (len(own) + len(shingles[name]) - common) >= THRESHOLD
        for name, common in shared.items()
    )


def _report(
    found: dict[str, list[Any]], count: int, quality: dict[str, dict[str, float]], version: str
) -> None:
    speeds = {side: [count / each["seconds"] for each in rounds] for side, rounds in found.items()}
    ratio = statistics.median(a / b for a, b in zip(*speeds.values(), strict=True))
    heads = [f"datatrove {version}", "texts/s", "spread", "removed", "recall", "precision"]
    rows = [
        [
            *(side, statistics.median(speeds[side]), spread(speeds[side])),
            *(quality[side]["removed"], quality[side]["recall"], quality[side]["precision"]),
        ]
        for side in speeds
    ]
    print(table(heads, rows))
    Result(
        "dedup",
        round(statistics.median(speeds["ours"]), 1),
        round(statistics.median(speeds["peer"]), 1),
        round(ratio, 1),
        "texts per second, end to end, on all cores",
        quality,
    ).print()


if __name__ == "__main__":
    main()
