import math
import re

from hypothesis import given
from hypothesis import strategies as st

from undercroft.console.components import charts

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(NUMBERS, NUMBERS)
def test_an_axis_holds_all_values_in_a_few_even_steps(a, b):
    low, high = min(a, b), max(a, b)
    if high - low < 1e-6:
        high = low
    ticks = charts.scale(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 8


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3000))
def test_thinning_keeps_the_ends_and_the_limit(values):
    points = list(enumerate(values))
    kept = charts.thin(points)
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert len(kept) <= charts.MAX_POINTS + 1


def test_the_average_of_a_line_is_the_line_itself():
    points = [(float(step), 3.0 * step) for step in range(50)]
    assert all(
        math.isclose(a, b) for (_, a), (_, b) in zip(charts.averaged(points), points, strict=True)
    )


def test_a_loss_that_is_not_a_number_is_left_out_rather_than_drawn():
    drawn = charts.line("Loss", [(1, 2.0), (2, math.nan), (3, 1.0)])
    assert "nan" not in drawn
    assert "<path" in drawn


def test_a_single_point_is_seen_as_a_dot():
    assert 'h0.1"' in charts.line("Loss", [(1, 1.3)])


def test_a_band_stays_within_its_picture_whatever_is_not_known_of_a_bound():
    points = [(1, -100.0, 0.0, math.inf), (2, 0.0, 3.0, 0.0), (30, 1.0, 2.0, 4.0)]
    drawn = charts.band("Errors", points, unit="points", level=0, limit=5, word="pair")
    heights = [float(y) for y in re.findall(r"[ML][\d.-]+ ([\d.-]+)", drawn)]
    assert len(heights) == 2 * 3 + 2 + 2 + 3
    assert all(0 <= y <= 1000 for y in heights)
    assert "nan" not in drawn
    assert "pair 30" in drawn
