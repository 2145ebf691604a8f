"""The console's process: one socket, one NiceGUI app, one announcement when it is ready."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from undercroft import __version__
from undercroft.errors import MissingExtra, UndercroftError
from undercroft.processes import CONSOLE, announce
from undercroft.project import Project

if TYPE_CHECKING:
    from fastapi import FastAPI

    Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

LOG = logging.getLogger(__name__)

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_STOP_GRACE_S = 2


def serve(project: Project) -> None:
    """Serve the console until SIGTERM or Ctrl-C.

    Writes ``.undercroft/console.json`` when it can be visited. Raises `Busy` when the port is
    taken and `MissingExtra` without NiceGUI.
    """
    import uvicorn

    settings = project.settings.console
    with CONSOLE.listen(settings.host, settings.port) as listener:
        port = int(listener.getsockname()[1])
        url = f"http://{_visitable(settings.host)}:{port}"
        app = build(project, _announced(project, url))
        warm(project)
        config = uvicorn.Config(
            app,
            log_level="warning",
            ws="wsproto",  # as NiceGUI itself asks for
            timeout_graceful_shutdown=_STOP_GRACE_S,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _announced(project: Project, url: str) -> Lifespan:
    """While the app runs, its address stands where the command line looks for it."""
    announcement = project.state / CONSOLE.announcement

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        announce(announcement, urls={"console": url})
        try:
            yield
        finally:
            announcement.unlink(missing_ok=True)

    return lifespan


def build(project: Project, lifespan: Lifespan | None = None) -> FastAPI:
    """The console as an ASGI app; ``lifespan`` is entered when it can be visited."""
    try:
        from nicegui import app as nicegui_app
        from nicegui import ui
    except ImportError:
        raise MissingExtra("nicegui", "console") from None
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from undercroft.console.access import SignIn
    from undercroft.console.components.theme import ASSETS
    from undercroft.console.shell import install

    app = FastAPI(
        title="Undercroft console",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    if _is_loopback(project.settings.console.host):
        # A page elsewhere on the web could point its own name at this machine (DNS rebinding).
        app.add_middleware(
            TrustedHostMiddleware,
            allowed_hosts=[*_LOCAL_NAMES, project.settings.console.host],
            www_redirect=False,
        )
    else:
        app.add_middleware(SignIn, project=project)
    nicegui_app.add_static_files("/assets", ASSETS)
    nicegui_app.add_middleware(_security_headers())
    install(project, __version__)
    ui.run_with(
        app,
        title="Undercroft",
        favicon=(ASSETS / "favicon.svg").read_text(encoding="utf-8"),
        dark=False,
        tailwind=False,
        language="en-US",
        reconnect_timeout=30.0,
        show_welcome_message=False,
    )
    return app


def warm(project: Project) -> None:
    """Open the stores and import what reads them, so that nobody's first visit waits for it."""
    from undercroft.console.views import home

    try:
        home.read(project)
    except (UndercroftError, OSError):
        LOG.warning("the home page cannot be read yet", exc_info=True)


def _security_headers() -> Any:
    """Middleware: the console is never framed by others and tells nobody where one came from."""
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    class SecurityHeaders:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def with_headers(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [
                        *message["headers"],
                        (b"x-frame-options", b"DENY"),
                        (b"x-content-type-options", b"nosniff"),
                        (b"referrer-policy", b"same-origin"),
                    ]
                await send(message)

            await self.app(scope, receive, with_headers)

    return SecurityHeaders


def _visitable(host: str) -> str:
    """A host as one types it: a wildcard address means this machine."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
