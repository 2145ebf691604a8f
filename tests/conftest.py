"""What holds for all tests."""

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, or takes to make, says more of the machine than of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

LONGEST = ("system", "chaos", "train", "stage", "serve")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders with the longest files first, so that no process waits for another at the end."""
    place = {folder: at for at, folder in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.parent.name, len(LONGEST)))
