"""A lake in a fresh folder, and rows to put into it."""

from pathlib import Path

import pyarrow as pa
import pytest

from undercroft.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def rows(*numbers: int) -> pa.Table:
    """One row per number, with an id and a text that nothing else contains."""
    return pa.table(
        {
            "id": [f"d{number}" for number in numbers],
            "text": [
                f"needle{number}x is the text of document number {number}" for number in numbers
            ],
        }
    )
