"""What every tab loads once: theme, script, the frame, and the visit that fills it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request

from undercroft.console import access
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
        visit = Visit(project, PAGES, main, request.scope.get(access.WHO, access.LOCAL))

        async def go(event: GenericEventArguments) -> None:
            await visit.go(str(event.args))

        async def act(event: GenericEventArguments) -> None:
            name, value = event.args
            await visit.act(str(name), str(value))

        ui.on("undercroft_visit", go)
        ui.on("undercroft_act", act)
        query = f"?{request.url.query}" if request.url.query else ""
        main.client.status_code = await visit.go(request.url.path + query)

    for path in ("/", "/{path:path}"):
        ui.page(path, response_timeout=_PATIENCE_S)(frame)
