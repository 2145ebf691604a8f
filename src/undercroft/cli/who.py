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
    """The name of the key in the environment, if there is one."""
    secret = os.environ.get(KEY, "")
    found = project.trust.keys.identify(secret) if secret else None
    return str(found.name) if found else "local"
