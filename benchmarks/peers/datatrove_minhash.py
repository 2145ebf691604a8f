"""datatrove's MinHash deduplication of a folder of JSON Lines, its four stages one after another.

python datatrove_minhash.py INPUT_FOLDER WORK_FOLDER PROCESSES; prints one JSON line: the seconds
and the ids of the texts that stay. 14 buckets of 8 hashes over 5-grams of words, 64 bits, as
FineWeb has it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> None:
    source, work, processes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(
        hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5
    )
    folders = {name: str(work / name) for name in ("signatures", "buckets", "ids", "kept")}
    files = len(list(Path(source).glob("*.jsonl")))
    stages = [
        (
            [
                JsonlReader(source),
                MinhashDedupSignature(folders["signatures"], config=config, language="en"),
            ],
            files,
        ),
        (
            [MinhashDedupBuckets(folders["signatures"], folders["buckets"], config=config)],
            config.num_buckets,
        ),
        ([MinhashDedupCluster(folders["buckets"], folders["ids"], config=config)], 1),
        (
            [
                JsonlReader(source),
                MinhashDedupFilter(folders["ids"]),
                JsonlWriter(folders["kept"], compression=None),
            ],
            files,
        ),
    ]
    started = time.monotonic()
    for number, (pipeline, tasks) in enumerate(stages):
        LocalPipelineExecutor(
            pipeline,
            tasks=tasks,
            workers=processes,
            logging_dir=str(work / f"logs{number}"),
            randomize_start_duration=0,
        ).run()
    seconds = time.monotonic() - started
    kept = []
    for path in Path(folders["kept"]).rglob("*.jsonl"):
        with path.open(encoding="utf-8") as lines:
            kept += [json.loads(line)["id"] for line in lines]
    print(json.dumps({"seconds": seconds, "kept": kept}))


if __name__ == "__main__":
    main()
