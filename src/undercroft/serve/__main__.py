"""``python -m undercroft.serve PROJECT_DIR``: the gateway's process."""

from __future__ import annotations

import logging
import sys

from undercroft.errors import UndercroftError


def main(arguments: list[str]) -> int:
    from undercroft.processes import end_with_parent
    from undercroft.project import Project
    from undercroft.serve.server import run

    if len(arguments) != 1:
        print("usage: python -m undercroft.serve PROJECT_DIR", file=sys.stderr)  # noqa: T201
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    end_with_parent()
    try:
        run(Project.open(arguments[0]))
    except UndercroftError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
