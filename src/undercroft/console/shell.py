"""What every tab loads once: theme, script, the frame, and the visit that fills it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request

from undercroft.console.components.frame import side
from undercroft.console.components.theme import head
from undercroft.console.pages import PAGES
from undercroft.console.router import Visit
from undercroft.project import Project

if TYPE_CHECKING:
    from nicegui.events import GenericEventArguments

_PATIENCE_S = 30.0


def install(project: Project, version: str) -> None:
    """Register the one NiceGUI page that all addresses lead to."""
    from nicegui import ui

    async def frame(request: Request) -> None:
        ui.add_head_html(str(head()))
        with ui.element("div").classes("frame"):
            ui.html(side(project.title, version), sanitize=False, tag="aside")
            main = ui.element("main").classes("main")
        visit = Visit(project, PAGES, main)

        async def go(event: GenericEventArguments) -> None:
            await visit.go(str(event.args))

        ui.on("undercroft_visit", go)
        query = f"?{request.url.query}" if request.url.query else ""
        main.client.status_code = await visit.go(request.url.path + query)

    for path in ("/", "/{path:path}"):
        ui.page(path, response_timeout=_PATIENCE_S)(frame)
