"""``python -m undercroft.serve PROJECT_DIR``: the gateway's process."""

from __future__ import annotations

import asyncio
import logging
import sys

from undercroft.errors import UndercroftError


def main(arguments: list[str]) -> int:
    from undercroft.jobs import only_one
    from undercroft.processes import end_with_parent
    from undercroft.project import Project
    from undercroft.serve.server import serve

    if len(arguments) != 1:
        print("usage: python -m undercroft.serve PROJECT_DIR", file=sys.stderr)  # noqa: T201
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    end_with_parent()
    try:
        project = Project.open(arguments[0])
        with only_one(project.state / "serve.lock", f"The gateway of {project.name}"):
            _run(serve(project))
    except UndercroftError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def _run(work: object) -> None:
    assert asyncio.iscoroutine(work)
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
        return
    uvloop.run(work)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
