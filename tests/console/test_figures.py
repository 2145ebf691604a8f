from datetime import UTC, datetime, timedelta

import pytest

from undercroft.console import figures


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0123, "12 ms"),
        (1.55, "1.6 s"),
        (59.99, "60.0 s"),
        (61, "1 min 01 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_durations_show_their_two_largest_units(value, words):
    assert figures.seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0 B"), (999, "999 B"), (1_700_000, "1.7 MB"), (2.5e12, "2.5 TB")]
)
def test_sizes_are_decimal(value, words):
    assert figures.size(value) == words


def test_an_age_names_its_largest_unit():
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    ages = [timedelta(seconds=3), timedelta(minutes=5), timedelta(hours=30), timedelta(days=9)]
    assert [figures.ago(now - age, now) for age in ages] == [
        "just now", "5 min ago", "yesterday", "9 days ago",
    ]  # fmt: skip


def test_small_amounts_are_never_shown_as_nothing():
    assert figures.energy(0.00004) == "0.04 mWh"
    assert figures.money(4.2e-6) == "4.2e-06"
