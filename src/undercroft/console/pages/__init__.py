"""One file per page: what it reads (`views`), how it reads (`components`), and its address.

`PAGES` is the whole site map.
"""

from __future__ import annotations

from undercroft.console.pages import (
    answer,
    answers,
    artifact,
    chat,
    document,
    documents,
    home,
    lineage,
    lineage_start,
    models,
    rollout,
    run,
    runs,
)
from undercroft.console.router import Page

PAGES: tuple[Page, ...] = (
    home.PAGE,
    chat.PAGE,
    answers.PAGE,
    answer.PAGE,
    documents.PAGE,
    document.PAGE,
    models.PAGE,
    rollout.PAGE,
    artifact.PAGE,
    runs.PAGE,
    run.PAGE,
    lineage_start.PAGE,
    lineage.PAGE,
)
