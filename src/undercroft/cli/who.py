"""Who gives a command, and why."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from undercroft.project import Project

KEY = "UNDERCROFT_KEY"

reason_option = click.option("--reason", default="", help="Kept for ever.")


def who(project: Project) -> str:
    """The name of the key in the environment, if there is one. Raises `Denied` for one that nobody
    holds, so that no decision is written down to somebody else."""
    from undercroft.errors import Denied

    secret = os.environ.get(KEY, "")
    if not secret:
        return "local"
    found = project.trust.keys.identify(secret)
    if found is None:
        raise Denied(
            f"The environment's {KEY} is no key of {project.name}.",
            "It was mistyped or revoked.",
            "Unset it, or set it to a key that is in use: undercroft key ls",
        )
    return str(found.name)
