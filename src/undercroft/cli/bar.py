"""A progress bar on standard error, where somebody looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Tell(Protocol):
    """Told how much is done, of how much, and of what."""

    def __call__(self, done: int, total: int, what: str = "", /) -> None: ...


@contextmanager
def bar(what: str, quiet: bool) -> Iterator[Tell]:
    """A bar that begins with the words ``what``; none if ``quiet`` or nobody is looking."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as shown:
        task = shown.add_task(what, total=None)

        def tell(done: int, total: int, now: str = "") -> None:
            shown.update(task, completed=done, total=total, description=now or what)

        yield tell
