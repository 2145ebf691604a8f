"""What is said about a source behind its address, as in ``hf:owner/name?split=test``."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qs

from undercroft.errors import BadSource


def options_of(spec: str, said: str, known: Collection[str]) -> dict[str, str]:
    """The options in ``said``, written as a query. Raises `BadSource` for any that is unknown."""
    options = {name: values[-1] for name, values in parse_qs(said).items()}
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise BadSource(
            f"{spec} says {', '.join(unknown)}, which means nothing here.",
            f"What can be said: {', '.join(sorted(known))}.",
            "Correct `sources` under [collect].",
        )
    return options
