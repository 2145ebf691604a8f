"""Rows of what is trained on that cannot be used: kept with the run, counted, told once.

While a run goes they are in its folder, a file for each artifact; with the model they are one file,
``refused.jsonl``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from undercroft.lake.refused import REFUSED_FILE, Refused, reasons_of, write_refused
from undercroft.records import Artifact, Example
from undercroft.stage import StageRun
from undercroft.train.samples.data import read_examples

_OF_RUN: Final = "refused-*.jsonl"


def examples_of(run: StageRun, artifact: Artifact) -> list[Example]:
    """The examples of ``artifact``; raises `BadInput` when not one can be read."""
    refused: list[Refused] = []
    found = read_examples(run.project.path(artifact), refused.append)
    refuse(run, artifact, refused)
    return found


def refuse(run: StageRun, artifact: Artifact, refused: Sequence[Refused]) -> None:
    """Keep what is ``refused`` of ``artifact`` in the folder of ``run``, and say so."""
    if not refused:
        return
    path = run.workdir / _OF_RUN.replace("*", artifact.digest[:12])
    write_refused(path, refused)
    reasons = reasons_of(refused)
    first = next(iter(reasons))
    run.event(
        "refused",
        step=0,
        of=str(artifact.ref),
        rows=len(refused),
        reasons=dict(reasons),
        why=f"{len(refused):,} of {artifact.ref}, most because: {first}; see {REFUSED_FILE}",
    )


def keep_refused(run: StageRun, folder: Path) -> dict[str, int]:
    """Put what was refused beside the model in ``folder``; how many rows, where there are any."""
    count = 0
    for path in sorted(run.workdir.glob(_OF_RUN)):
        with path.open("rb") as rows, (folder / REFUSED_FILE).open("ab") as out:
            shutil.copyfileobj(rows, out)
        count += len(path.read_bytes().splitlines())
    return {"refused_rows": count} if count else {}
