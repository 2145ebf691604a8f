"""The heuristics of datatrove on texts, in as many processes as there are cores.

python datatrove_filters.py TEXTS.jsonl PROCESSES; prints one JSON line: the seconds and, for every
text, which rule of each filter removed it ("" where none did).
"""

from __future__ import annotations

import json
import sys
import time
from multiprocessing import Pool


def filters() -> dict[str, object]:
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    return {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4": C4QualityFilter(),
        "fineweb": FineWebQualityFilter(),
    }


def judge(texts: list[str]) -> list[dict[str, str]]:
    from datatrove.data import Document

    chosen = filters()
    found = []
    for number, text in enumerate(texts):
        verdicts = {}
        for name, each in chosen.items():
            answer = each.filter(Document(text=text, id=str(number)))
            verdicts[name] = "" if answer is True else answer[1]
        found.append(verdicts)
    return found


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    processes = int(sys.argv[2])
    parts = [texts[first::processes] for first in range(processes)]
    with Pool(processes) as pool:
        pool.map(judge, [["Some words to load the tokenizer with."]] * processes)
        started = time.monotonic()
        answers = pool.map(judge, parts, chunksize=1)
        seconds = time.monotonic() - started
    verdicts: list[dict[str, str]] = [{}] * len(texts)
    for first, part in enumerate(answers):
        verdicts[first::processes] = part
    print(json.dumps({"seconds": seconds, "verdicts": verdicts}))


if __name__ == "__main__":
    main()
