"""``python -m undercroft.console PROJECT_DIR``: serve the console of one project until stopped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from undercroft.console.server import serve
from undercroft.errors import UndercroftError
from undercroft.processes import end_with_parent
from undercroft.project import Project


def main() -> int:
    """Run the console; the exit code is that of the error that stopped it, or 0."""
    parser = argparse.ArgumentParser(prog="python -m undercroft.console", description=__doc__)
    parser.add_argument("project", type=Path, help="folder of the project")
    parser.add_argument("--host", help="address to listen on, instead of console.host")
    parser.add_argument("--port", type=int, help="port, instead of console.port; 0: a free one")
    given = parser.parse_args()
    overrides = {
        key: value
        for key, value in (("console.host", given.host), ("console.port", given.port))
        if value is not None
    }
    end_with_parent()
    try:
        serve(Project.open(given.project, overrides))
    except UndercroftError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 the parent reads this line
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
