"""What goes wrong below the lake, said in the project's own errors, and retried where that helps.

Lance raises plain ``OSError`` and ``ValueError`` with the cause only in the message, so the
message is what is looked at.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from undercroft.errors import BadInput, Busy, NotFound, StorageFull, UndercroftError

T = TypeVar("T")

#: Attempts at one commit; the waits between them add up to about six seconds.
COMMIT_ATTEMPTS = 12
_LONGEST_WAIT_S = 1.0

_FULL = ("no space left on device", "os error 28)", "os error 122)", "disk quota exceeded")
_CONFLICT = (
    "commit conflict",
    "conflicting",
    "concurrent",
    "dataset already exists",
    "branch already exists",
)
_BAD_FILTER = ("no field named", "tokenizing", "sql parser", "parsererror", "schema error")
_MISSING = ("was not found", "does not exist", "not found:", "no such file")


def is_full(error: BaseException) -> bool:
    """Whether ``error`` means that a disk or a quota has no room left."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _says(error, _FULL)


def is_conflict(error: BaseException) -> bool:
    """Whether ``error`` means that another writer committed first."""
    return _says(error, _CONFLICT)


def is_missing(error: BaseException) -> bool:
    """Whether ``error`` means that a table, version, tag or branch is not there."""
    return _says(error, _MISSING)


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Translate what Lance and the file system raise while ``doing`` (“write table x”)."""
    try:
        yield
    except UndercroftError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise _translate(error, doing) from error


def committed(doing: str, commit: Callable[[], T]) -> T:
    """Run ``commit``, again with growing random waits while other writers get in first.

    Raises `Busy` when they always do, and otherwise what `told` makes of the failure.
    """
    with told(doing):
        for attempt in range(COMMIT_ATTEMPTS - 1):
            try:
                return commit()
            except (OSError, ValueError, RuntimeError) as error:
                if not is_conflict(error) or is_full(error):
                    raise
                wait_s = min(_LONGEST_WAIT_S, 0.01 * 2**attempt)
                time.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
        return commit()


def _translate(error: Exception, doing: str) -> UndercroftError:
    cause = str(error).split(", /")[0]  # the rest are lines of Lance's own source
    if is_full(error):
        return StorageFull(
            f"The disk is full; could not {doing}.",
            "Everything acknowledged before is intact.",
            "Free some space and run the same command again.",
        )
    if is_conflict(error):
        return Busy(f"Could not {doing}.", f"Other writers kept committing first ({cause}).")
    if _says(error, _BAD_FILTER):
        return BadInput(f"Could not {doing}.", cause, "See the table's schema for its columns.")
    if is_missing(error):
        return NotFound(f"Could not {doing}: {cause}.")
    if isinstance(error, ValueError) or _says(error, ("invalid user input", "different schema")):
        return BadInput(f"Could not {doing}.", cause)
    return UndercroftError(f"Could not {doing}.", cause, "Look at the disk and its permissions.")


def _says(error: BaseException, phrases: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(phrase in text for phrase in phrases)
