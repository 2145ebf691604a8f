"""Which documents may serve which purpose, by conditions over their columns.

A purpose is declared as ``[curate.purposes.NAME]``: text that is too toxic to train a model on can
teach a classifier what toxic is. A document that a rule removed serves none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from undercroft.errors import BadConfig, BadInput
from undercroft.settings import Purpose

if TYPE_CHECKING:
    from undercroft.lake import Table


def allowed(
    table: Table, version: int, purposes: Mapping[str, Purpose]
) -> dict[str, NDArray[np.bool_]]:
    """For each purpose whether each document of ``version`` fits its condition, in the table's
    order. Raises `BadConfig` for a condition or a column that the table does not understand."""
    ids = table.read(["id"], version=version)["id"]
    return {name: _fits(table, version, ids, name, each) for name, each in purposes.items()}


def listed(fits: Mapping[str, NDArray[np.bool_]], kept: NDArray[np.bool_]) -> pa.Array:
    """The purposes that each document serves, list<string> [n]."""
    names = list(fits)
    holds = np.array([fits[name] & kept for name in names]).reshape(len(names), len(kept)).T
    ends = np.concatenate([np.zeros(1, np.int32), np.cumsum(holds.sum(axis=1), dtype=np.int32)])
    values = pa.array(names, pa.string()).take(pa.array(np.nonzero(holds)[1]))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)


def _fits(
    table: Table, version: int, ids: pa.ChunkedArray, name: str, purpose: Purpose
) -> NDArray[np.bool_]:
    unknown = [column for column in purpose.columns if column not in table.schema.names]
    if unknown:
        raise BadConfig(
            f"[curate.purposes.{name}] names the column {unknown[0]}, which documents do not have.",
            f"They have {', '.join(table.schema.names)}.",
            "Correct `columns`.",
        )
    if not purpose.where:
        return np.ones(len(ids), np.bool_)
    try:
        found = table.read(["id"], where=purpose.where, version=version)["id"]
    except BadInput as error:
        raise BadConfig(
            f"[curate.purposes.{name}] where = {purpose.where!r} cannot be understood.",
            error.why,
            "Write a condition such as: toxicity < 0.5 AND licence LIKE 'cc-%'",
        ) from None
    fits: NDArray[np.bool_] = pc.is_in(ids, value_set=found.combine_chunks()).to_numpy()
    return fits
