"""datatrove's road from web archives to a dataset, with the blocks of FineWeb.

python datatrove_road.py ARCHIVES WORK_FOLDER WORKERS LANGUAGE_MODEL; prints one JSON line: the
seconds of each part, and for every page by its address what became of it: "kept", or why it went.
Filters keep what they exclude, as FineWeb's own script has them do.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

TASKS = 4
FILTERS = ("language", "gopher_repetition", "gopher_quality", "c4", "fineweb")


def reading(source: str, work: Path, model: str) -> list[Any]:
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        LanguageFilter,
    )
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    aside = {name: JsonlWriter(str(work / "removed" / name)) for name in FILTERS}
    language = LanguageFilter("en", exclusion_writer=aside["language"])
    language.model.MODEL_URL = model
    return [
        WarcReader(source, default_metadata={"dump": "road"}),
        Trafilatura(favour_precision=True, timeout=60),
        language,
        GopherRepetitionFilter(exclusion_writer=aside["gopher_repetition"]),
        GopherQualityFilter(exclusion_writer=aside["gopher_quality"]),
        C4QualityFilter(exclusion_writer=aside["c4"]),
        FineWebQualityFilter(exclusion_writer=aside["fineweb"]),
        JsonlWriter(str(work / "filtered")),
    ]


def stages(source: str, work: Path, model: str) -> list[tuple[str, list[Any], int]]:
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter
    from datatrove.pipeline.writers.parquet import ParquetWriter
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(
        hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5
    )
    folders = {name: str(work / name) for name in ("filtered", "signatures", "buckets", "ids")}
    signing = MinhashDedupSignature(folders["signatures"], config=config, language="en")
    bucketing = MinhashDedupBuckets(folders["signatures"], folders["buckets"], config=config)
    clustering = MinhashDedupCluster(folders["buckets"], folders["ids"], config=config)
    aside = JsonlWriter(str(work / "removed" / "near_duplicate"))
    removing = MinhashDedupFilter(folders["ids"], exclusion_writer=aside)
    writing = [PIIFormatter(), ParquetWriter(str(work / "kept"))]
    return [
        ("read and filter", reading(source, work, model), TASKS),
        ("signatures", [JsonlReader(folders["filtered"]), signing], TASKS),
        ("buckets", [bucketing], config.num_buckets),
        ("clusters", [clustering], 1),
        ("write", [JsonlReader(folders["filtered"]), removing, *writing], TASKS),
    ]


def main() -> None:
    source, work, workers, model = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    from datatrove.executor import LocalPipelineExecutor

    parts = {}
    for name, pipeline, tasks in stages(source, work, model):
        started = time.monotonic()
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=workers, logging_dir=str(work / "logs" / name)
        ).run()
        parts[name] = time.monotonic() - started
    said = {"seconds": sum(parts.values()), "cpu": cpu_seconds(), "parts": parts}
    print(json.dumps({**said, "fates": fates(work)}))


def cpu_seconds() -> float:
    """Of this process and all that it started; the server that forks workers ends before."""
    import resource

    from multiprocess.forkserver import _forkserver  # the package that datatrove forks with

    _forkserver._stop()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def fates(work: Path) -> dict[str, str]:
    import pyarrow.parquet as pq

    found = {}
    for path in (work / "kept").rglob("*.parquet"):
        for metadata in pq.read_table(path, columns=["metadata"])["metadata"].to_pylist():
            found[metadata["url"]] = "kept"
    for path in (work / "removed").rglob("*.jsonl.gz"):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                metadata = json.loads(line)["metadata"]
                name = path.relative_to(work / "removed").parts[0]
                why = metadata.get("filter_reason", "")
                found[metadata["url"]] = f"{name}: {why}" if why else name
    return found


if __name__ == "__main__":
    main()
