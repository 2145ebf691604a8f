"""A project in a temporary folder, and a web site on this machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from undercroft.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    """Opens a project whose sources are those given."""
    root = tmp_path / "project"
    root.mkdir()

    def opened(*sources: str, **settings: object) -> Project:
        overrides: dict[str, object] = {"collect.sources": list(sources)}
        overrides |= {f"collect.{name}": value for name, value in settings.items()}
        return Project.open(root, overrides)

    return opened


@dataclass
class FakeSite:
    """A real HTTP server; ``pages`` maps a path to what answers there."""

    pages: dict[str, object] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.headers)))
        page = self.pages.get(request.path)
        if page is None:
            return web.Response(status=404)
        if callable(page):
            return await page(request)
        if isinstance(page, str):
            return web.Response(text=page, content_type="text/html")
        raise TypeError(page)


@pytest.fixture
def site() -> Iterator[FakeSite]:
    fake, loop = FakeSite(), asyncio.new_event_loop()
    ready = threading.Event()

    async def serve() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("GET", "/{path:.*}", fake.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        ready.set()
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    yield fake
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
