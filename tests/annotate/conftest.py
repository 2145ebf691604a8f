from __future__ import annotations

from pydoc_data.topics import topics

import pytest

from tests.corpus import TOPICS
from undercroft.annotate.questions import Source


@pytest.fixture(scope="session")
def reference() -> list[Source]:
    """Pages of the language reference, a source file each."""
    return [Source(name, f"topics/{name}", name, topics[name], f"{name}.md") for name in TOPICS]
