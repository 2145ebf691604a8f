"""Keeping a table small: merged files, few versions, and indices that can be built again.

A table that is appended to once a second has 86,400 versions and files a day if nobody cleans up
(lance#5194); here every 32nd commit does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import lance

#: A commit whose number is a multiple of this merges and cleans up: one in 32 pays about 20 ms.
COMMITS_BETWEEN = 32
#: Files of this many rows are not merged any more. With Lance's own million, a table that grows by
#: small commits is copied whole every time until it has that many rows.
MERGED_ROWS = 16_384
#: Untagged versions are removed after this long, or when this many newer ones exist. The number
#: leaves readers of a busy table the time in which that many commits happen.
KEEP = timedelta(hours=24)
KEEP_NEWEST = 100

_RECIPE_PREFIX = "undercroft.index."


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an index was built: over which column, of which Lance kind, with which parameters."""

    column: str
    kind: str
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def key(self) -> str:
        return f"{_RECIPE_PREFIX}{self.column}"

    def as_dict(self) -> dict[str, Any]:
        return {"column": self.column, "kind": self.kind, "params": dict(self.params)}

    def build(self, dataset: lance.LanceDataset) -> None:
        """Build, or replace, the index in ``dataset``."""
        if self.kind.startswith("IVF"):
            dataset.create_index(self.column, self.kind, replace=True, **self.params)
        else:
            kind: Any = self.kind  # Lance lists the kinds it knows in its annotation
            dataset.create_scalar_index(self.column, kind, replace=True, **self.params)


def recipes(dataset: lance.LanceDataset) -> list[Recipe]:
    """The recipes of all indices of ``dataset``."""
    return [
        Recipe(**json.loads(value))
        for key, value in dataset.config().items()
        if key.startswith(_RECIPE_PREFIX)
    ]


def tidy(dataset: lance.LanceDataset, keep: timedelta) -> None:
    """Merge small files of ``dataset`` and remove untagged versions as this module says."""
    if len(dataset.get_fragments()) > 1:
        # Copied as they are where nothing was deleted: reading them takes their size in memory.
        dataset.optimize.compact_files(
            target_rows_per_fragment=MERGED_ROWS, compaction_mode="try_binary_copy"
        )
        if recipes(dataset):
            dataset.optimize.optimize_indices()
    dataset.cleanup_old_versions(older_than=keep, error_if_tagged_old_versions=False)
    dataset.cleanup_old_versions(retain_versions=KEEP_NEWEST, error_if_tagged_old_versions=False)
