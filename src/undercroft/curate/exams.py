"""The items of evaluation suites: registered ones, ``suite:NAME``, and files.

The suite that a project makes of its own documents is no exam to keep its documents away from:
which of them it asks about is held out of training as it is made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from undercroft.errors import BadSource
from undercroft.settings import Section
from undercroft.stage import Made, StageRun, stage

if TYPE_CHECKING:
    from undercroft.project import Project
    from undercroft.records import Artifact

_SUITE: Final = "suite:"
_MOST_SUITES: Final = 10_000
Items = list[tuple[str, str]]


class SuiteFiles(Section):
    """Files of evaluation items to keep as a suite."""

    name: str = Field("exam", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="names the suite")
    files: list[str] = Field(default_factory=list, description="paths, absolute")


def _digest(project: Project, params: SuiteFiles) -> str:  # noqa: ARG001
    from undercroft.lake.blobs import digest_of

    return " ".join(digest_of(_there(Path(file)))[0] for file in params.files)


@stage("register", version=1, params=SuiteFiles, fingerprint=_digest)
def register(run: StageRun, params: SuiteFiles) -> Made:
    """Keep ``params.files`` as ``suite:NAME``. Raises `BadSource` for one that cannot be read."""
    folder = run.workdir / "suite"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    count = 0
    for number, file in enumerate(map(Path, params.files)):
        count += len(list(_read(file)))
        shutil.copyfile(file, folder / f"{number:03}-{file.name}")
    if not count:
        raise BadSource(
            f"There are no items in {', '.join(params.files) or 'no files'}.",
            do="Give JSON Lines, CSV, Parquet or text.",
        )
    return Made("suite", params.name, path=folder, meta={"texts": count, "registered": True})


def read_items(patterns: Sequence[str], project: Project) -> Items:
    """The texts in evaluation suites and files, each named by its file and number.

    Every string of a row (JSON Lines, CSV, Parquet) is one, those in lists too; of other files
    every line. Raises `BadSource` for a file that is not there or cannot be read.
    """
    found: Items = []
    for pattern in patterns:
        if pattern.startswith(_SUITE):
            for suite in _registered(project, pattern.removeprefix(_SUITE)):
                for path in sorted(project.path(suite).iterdir()):
                    found += [(f"{suite.ref}/{n}", text) for n, text in _read(path)]
        else:
            for path in _files(pattern, project.root):
                found += [(f"{path.name}#{n}", text) for n, text in _read(path)]
    return found


def _registered(project: Project, glob: str) -> list[Artifact]:
    """The newest version of every registered suite that ``glob`` names."""
    newest: dict[str, Artifact] = {}
    for each in project.ledger.artifacts("suite", limit=_MOST_SUITES):  # newest first
        if each.meta.get("registered") and fnmatch(each.name, glob):
            newest.setdefault(each.name, each)
    if not newest and "*" not in glob:
        raise BadSource(
            f"There is no registered suite {glob}.",
            "`decontaminate` under [curate] names it.",
            f"Register it with: undercroft suite add {glob} FILE",
        )
    return [newest[name] for name in sorted(newest)]


def _files(pattern: str, root: Path) -> list[Path]:
    paths = [Path(pattern)] if Path(pattern).is_absolute() else sorted(root.glob(pattern))
    if not paths:
        raise BadSource(
            f"There is no evaluation file {pattern}.",
            "`decontaminate` under [curate] names files of evaluation items.",
            "Correct the path, which is relative to the project's folder.",
        )
    return paths


def _there(path: Path) -> Path:
    if not path.is_file():
        raise BadSource(f"There is no evaluation file {path}.", do="Correct the path.")
    return path


def _read(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of one file with the numbers of their rows."""
    try:
        for number, row in enumerate(_rows(_there(path)), 1):
            yield from ((number, text) for text in _strings(row))
    except (OSError, ValueError) as error:
        raise BadSource(
            f"The evaluation file {path} cannot be read.",
            str(error).partition("\n")[0],
            "Give JSON Lines, CSV, Parquet or text.",
        ) from None


def _rows(path: Path) -> Iterator[Any]:
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        with path.open(encoding="utf-8") as file:
            yield from (json.loads(line) for line in file if line.strip())
    elif suffix == ".parquet":
        from pyarrow import parquet

        yield from parquet.read_table(path).to_pylist()
    elif suffix == ".csv":
        from pyarrow import csv

        yield from csv.read_csv(path).to_pylist()
    else:
        yield from path.read_text(encoding="utf-8").splitlines()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)
