"""Line icons, drawn on a 16 by 16 grid in the colour of the text around them."""

from __future__ import annotations

from undercroft.console.markup import Markup, h

_PATHS = {
    "home": "M2.5 7.2 8 2.5l5.5 4.7V13a.5.5 0 0 1-.5.5H9.8V9.6H6.2v3.9H3a.5.5 0 0 1-.5-.5z",
    "chat": "M2.5 3.5h11v7.6H7.4L4.3 13.6v-2.5H2.5z",
    "runs": "M2.5 8h2.4l1.8-4.4 2.7 8.8L11.2 8h2.3",
    "documents": "M4 2.5h5.2L12 5.3v8.2H4zM9 2.5v3h3M6.2 8.2h3.6M6.2 10.6h3.6",
    "models": "M8 2.2 13.3 5v6L8 13.8 2.7 11V5zM2.7 5 8 7.9 13.3 5M8 7.9v5.9",
    "rollout": "M2.5 12.5h3V9.8h3.4V6.6h3.6V3.5M10.6 5.2l1.9-1.9 1.9 1.9",
    "answers": "M3 3.5h10M3 6.5h10M3 9.5h6M3 12.5h4M11 11.5l1.2 1.2 2-2.4",
    "lineage": "M4 6v4M5.8 4h4.4M5.5 5.3l5 5.4M4 2.2a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6z"
    "M12 2.2a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6zM4 10.2a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0"
    "-3.6zM12 10.2a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6z",
    "up": "M5 7.2 7.6 2.4c.9 0 1.6.7 1.6 1.6v2.5h3.1c.8 0 1.4.7 1.2 1.5l-.9 4.2c-.1.6-.6 1-1.2 1"
    "H5zM5 7.2H2.6v6H5",
    "down": "M5 8.8l2.6 4.8c.9 0 1.6-.7 1.6-1.6V9.5h3.1c.8 0 1.4-.7 1.2-1.5l-.9-4.2c-.1-.6-.6-1-1.2"
    "-1H5zM5 8.8H2.6v-6H5",
    "send": "M8 13V3.2M3.8 7.2 8 3l4.2 4.2",
    "stop": "M4.5 4.5h7v7h-7z",
}


def icon(name: str) -> Markup:
    """The icon, hidden from screen readers: the text or label beside it says what it means."""
    return h(
        "svg",
        h("path", d=_PATHS[name]),
        viewBox="0 0 16 16",
        fill="none",
        stroke="currentColor",
        stroke_width="1.3",
        stroke_linecap="round",
        stroke_linejoin="round",
        aria_hidden="true",
    )


def arches() -> Markup:
    """The mark: three arches, one inside the other, as one sees them walking into a vault."""
    return h(
        "svg",
        h("path", d="M2.5 21.5V12a9.5 9.5 0 0 1 19 0v9.5"),
        h("path", d="M6.7 21.5V12.6a5.3 5.3 0 0 1 10.6 0v8.9", opacity=".72"),
        h("path", d="M10.4 21.5v-8.3a1.6 1.6 0 0 1 3.2 0v8.3", opacity=".45"),
        viewBox="0 0 24 24",
        fill="none",
        stroke="currentColor",
        stroke_width="2",
        stroke_linecap="round",
        aria_hidden="true",
    )
