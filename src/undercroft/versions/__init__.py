"""Dataset artifacts -> what people ask of versions: history, differences, files, proof.

A dataset version is a selection (which documents are kept, why not, what is masked, and the digest
of every row) of one version of the documents table. Nothing here makes a dataset; `curate` does.
Read `history` first.
"""

from __future__ import annotations

from undercroft.versions.compare import Difference, diff
from undercroft.versions.history import Version, follow, in_use, log, restore
from undercroft.versions.verify import Verified, verify

__all__ = [
    "Difference",
    "Verified",
    "Version",
    "diff",
    "follow",
    "in_use",
    "log",
    "restore",
    "verify",
]
