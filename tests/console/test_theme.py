"""The theme keeps its promises: readable in light and dark, and nothing comes from elsewhere."""

import re
from pathlib import Path

import pytest

import undercroft.console

ASSETS = Path(undercroft.console.__file__).parent / "assets"
CSS = (ASSETS / "theme.css").read_text()
TEXT_ON_GROUND = [
    (ink, ground)
    for ink in ("ink", "ink-2", "ink-3", "accent", "bad", "warn")
    for ground in ("page", "surface", "sunken")
] + [
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("accent-strong", "accent-soft"),
    ("bad", "bad-soft"),
    ("ink-2", "bad-soft"),
    ("ink", "mark"),
]


def tokens(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))


LIGHT = tokens(CSS[CSS.index(":root {") : CSS.index("@media (prefers-color-scheme")])
SYSTEM_DARK = tokens(CSS[CSS.index("@media (prefers") : CSS.index(':root[data-theme="dark"]')])
CHOSEN_DARK = tokens(CSS[CSS.index(':root[data-theme="dark"] {') : CSS.index("--sans:")])


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("theme", [LIGHT, CHOSEN_DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXT_ON_GROUND)
def test_text_has_the_contrast_of_wcag_aa(theme, ink, ground):
    lighter, darker = sorted((luminance(theme[ink]), luminance(theme[ground])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_the_dark_of_the_system_is_the_dark_of_the_switch():
    assert SYSTEM_DARK == CHOSEN_DARK
    assert set(LIGHT) == set(CHOSEN_DARK)


def test_every_token_that_is_used_is_defined():
    used = set(re.findall(r"var\(--([a-z0-9-]+)", CSS))
    assert used - set(re.findall(r"--([a-z0-9-]+):", CSS)) == set()


def test_nothing_is_fetched_from_elsewhere():
    for file in ("theme.css", "console.js"):
        assert not re.search(r"https?://|@import", (ASSETS / file).read_text())


def test_every_font_comes_with_its_licence():
    for font in (ASSETS / "fonts").glob("*.woff2"):
        assert "SIL Open Font License" in font.with_suffix(".LICENSE.txt").read_text()
