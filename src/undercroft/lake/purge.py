"""Erasure: rows leave every version of a table, and their bytes leave the disk.

Deleting in Lance only hides rows: older versions show them and files keep them. So

1. every tagged version whose files still hold a matching row is rewritten without it, on a Lance
   branch named ``erased-<version>``, and its tags move there. The version's number stays valid:
   opening it opens the branch, so an artifact made from it can still be read and traced, less
   what was erased. Its recorded digest is that of the content before the erasure.
2. the newest version is rewritten likewise;
3. every other version is dropped, with every file that no remaining version needs.

A tagged version that lacks a column of the filter cannot be searched; it is dropped, tags and all,
and `Purged.dropped` names the tags. Everything can be repeated: a purge that was killed is
finished by running it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import lance

from undercroft.lake.faults import is_missing
from undercroft.lake.upkeep import recipes

_BRANCH = "erased-"


@dataclass(frozen=True, slots=True)
class Purged:
    """What an erasure did to one table."""

    rows: int  # erased from the newest version
    rewritten: tuple[int, ...]  # tagged versions that no longer hold the rows
    dropped: tuple[str, ...]  # tags of versions that had to go as a whole


def purge(dataset: lance.LanceDataset, where: str) -> Purged:
    """Erase the rows matching ``where`` from all versions of ``dataset`` and from its files.

    Nobody else may be writing to it. Raises what Lance raises.
    """
    rows = int(dataset.count_rows(where))
    rewritten: list[int] = []
    dropped: list[str] = []
    for number, names in _tagged(dataset).items():
        version = _at(dataset, number)
        if not _has_columns_of(version, where):
            for name in names:
                dataset.tags.delete(name)
            dropped += names
        elif _holds(version, where):
            _rewrite_tagged(dataset, number, names, where)
            rewritten.append(number)
    if _holds(dataset, where) or rows:
        _rewrite(dataset, where)
    _drop_everything_else(dataset)
    return Purged(rows, tuple(rewritten), tuple(sorted(dropped)))


def rewritten(dataset: lance.LanceDataset, version: int | None) -> lance.LanceDataset | None:
    """What ``version`` became when rows were erased from it, or None if it was not rewritten."""
    if version is None or f"{_BRANCH}{version}" not in dataset.branches.list():
        return None
    return dataset.checkout_version((f"{_BRANCH}{version}", None))


def branches(dataset: lance.LanceDataset) -> Mapping[int, lance.LanceDataset]:
    """The rewritten versions of ``dataset`` by their number."""
    return {
        int(name.removeprefix(_BRANCH)): dataset.checkout_version((name, None))
        for name in dataset.branches.list()
        if name.startswith(_BRANCH)
    }


def original_version(tag: Mapping[str, Any]) -> int:
    """The version number a Lance tag stands for, seeing through a rewrite."""
    branch = tag["branch"]
    return int(branch.removeprefix(_BRANCH)) if branch else int(tag["version"])


def reference(dataset: lance.LanceDataset, version: int) -> tuple[str | None, int]:
    """The branch and version that a tag on ``version`` has to name."""
    branch = rewritten(dataset, version)
    return (None, version) if branch is None else (f"{_BRANCH}{version}", int(branch.version))


def _tagged(dataset: lance.LanceDataset) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, tag in dataset.tags.list().items():
        found.setdefault(original_version(tag), []).append(name)
    return found


def _at(dataset: lance.LanceDataset, number: int) -> lance.LanceDataset:
    return rewritten(dataset, number) or dataset.checkout_version(number)


def _has_columns_of(dataset: lance.LanceDataset, where: str) -> bool:
    try:
        dataset.count_rows(where)
    except (OSError, ValueError) as error:
        if "no field named" in str(error).lower():
            return False
        raise
    return True


def _holds(dataset: lance.LanceDataset, where: str) -> bool:
    """Whether a file of ``dataset`` still has a matching row, deleted or not."""
    batches: Iterator[Any] = dataset.scanner(
        columns=[], filter=where, with_row_id=True, include_deleted_rows=True, limit=1
    ).to_batches()
    return any(batch.num_rows for batch in batches)


def _rewrite_tagged(dataset: lance.LanceDataset, number: int, names: list[str], where: str) -> None:
    branch = rewritten(dataset, number) or dataset.create_branch(f"{_BRANCH}{number}", number)
    _rewrite(branch, where)
    for name in names:
        dataset.tags.update(name, (f"{_BRANCH}{number}", int(branch.version)))


def _rewrite(dataset: lance.LanceDataset, where: str) -> None:
    """Replace every file and index of ``dataset`` that holds a matching row."""
    rebuilt = recipes(dataset)
    for index in dataset.describe_indices():
        dataset.drop_index(index.name)
    dataset.delete(where)
    dataset.optimize.compact_files(materialize_deletions_threshold=0.0)
    for recipe in rebuilt:
        recipe.build(dataset)
    # The newest transaction file is never cleaned up; it must not be the one with the filter.
    dataset.update_config({"undercroft.erased_at": datetime.now(UTC).isoformat()})


def _drop_everything_else(dataset: lance.LanceDataset) -> None:
    kept = {reference_of["branch"] for reference_of in dataset.tags.list().values()}
    for number, branch in branches(dataset).items():
        if f"{_BRANCH}{number}" in kept:
            _clean(branch)
        else:
            dataset.branches.delete(f"{_BRANCH}{number}")
    _clean(dataset)


def _clean(dataset: lance.LanceDataset) -> None:
    try:
        dataset.cleanup_old_versions(
            older_than=timedelta(0), delete_unverified=True, error_if_tagged_old_versions=False
        )
    except (OSError, ValueError) as error:
        if not is_missing(error):
            raise
