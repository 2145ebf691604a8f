"""Chat: questions and answers, each answer beside the passages it rests on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from undercroft.client import Answer, Gateway
from undercroft.console import figures
from undercroft.console.components import prose
from undercroft.console.components.errors import notice
from undercroft.console.components.frame import head
from undercroft.console.components.icons import icon
from undercroft.console.components.parts import badge, empty
from undercroft.console.markup import Markup, h, join
from undercroft.console.router import Page
from undercroft.console.views import chat
from undercroft.errors import UndercroftError
from undercroft.project import Project

if TYPE_CHECKING:
    from nicegui import ui
    from nicegui.events import GenericEventArguments

_REDRAW_S = 0.08


def render(data: chat.Chat) -> list[Markup]:
    """The head of the page; `mount` adds the conversation."""
    beside = badge("Serving", "good") if data.serving.healthy else badge("Not serving")
    lead = "Answers come from the documents, and show the passages they rest on."
    sections = [head("Chat", lead, beside=beside)]
    if not data.serving.healthy:
        why = "The gateway does not answer." if data.serving.url else "Nothing is being served."
        sections.append(empty(f"{why} Start it, then reload this page.", "undercroft up"))
    return sections


def mount(project: Project, data: chat.Chat) -> None:
    """The conversation and the box to write in."""
    if data.serving.healthy:
        Conversation(project, data)


class Conversation:
    """What one tab asked and was told, oldest first."""

    def __init__(self, project: Project, data: chat.Chat) -> None:
        from nicegui import ui

        self.project = project
        self.gateway = Gateway(project)
        self.turns: list[dict[str, str]] = []
        self.asking: asyncio.Task[str] | None = None
        self.log = ui.element("div").classes("chat").props('aria-live="polite"')
        with self.log:
            self.opening = ui.html(_suggestions(data), sanitize=False)
        with ui.element("div").classes("composer"):
            self._composer(data)

    def _composer(self, data: chat.Chat) -> None:
        from nicegui import ui

        with ui.element("div").classes("composer-box"):
            box = ui.element("textarea").props(
                'rows=1 placeholder="Ask about the documents" aria-label="Question" autofocus'
            )
            box.props["value"] = data.draft
            box.on("keydown", self._asked, js_handler="(e) => undercroftTyped(e, emit)")
            self.send = ui.element("button").classes("button primary").props('aria-label="Ask"')
            self.send.on("click", self._asked, js_handler="(e) => undercroftSent(e, emit)")
            self.stop = ui.element("button").classes("button").props('aria-label="Stop"')
            self.stop.on("click", self._stopped)
        with self.send:
            ui.html(icon("send"), sanitize=False, tag="span")
        with self.stop:
            ui.html(icon("stop"), sanitize=False, tag="span")
        self.stop.set_visibility(False)
        words = f"{data.model} · Enter to ask, Shift+Enter for a new line"
        ui.html(h("p", words, class_="note"), sanitize=False)

    async def _asked(self, event: GenericEventArguments) -> None:
        question = str(event.args).strip()
        if not question or self.asking is not None:
            return
        self.opening.set_visibility(False)
        with self.log:
            turn = Turn(self, question)
        self.turns.append({"role": "user", "content": question})
        self._busy(True)
        self.asking = asyncio.create_task(turn.run(self.turns))
        try:
            said = await self.asking
            if said:
                self.turns.append({"role": "assistant", "content": said})
            else:
                self.turns.pop()
        except asyncio.CancelledError:
            self.turns.pop()
            turn.cancelled()
        finally:
            self.asking = None
            self._busy(False)

    def _stopped(self) -> None:
        if self.asking is not None:
            self.asking.cancel()

    def _busy(self, busy: bool) -> None:
        self.send.set_visibility(not busy)
        self.stop.set_visibility(busy)


class Turn:
    """One question, its answer as it grows, its sources, and what the reader thinks of it."""

    def __init__(self, conversation: Conversation, question: str) -> None:
        from nicegui import ui

        self.project, self.gateway = conversation.project, conversation.gateway
        self.said = Answer()
        self.anchor = f"turn{len(conversation.turns)}"
        self.began = time.monotonic()
        with ui.element("section").classes("turn") as self.root:
            ui.html(h("div", question), sanitize=False).classes("question")
            with ui.element("div"):
                self.answer = ui.html("", sanitize=False).classes("waiting")
                self.below = ui.element("div")
            self.beside = ui.html("", sanitize=False)
        ui.run_javascript("undercroftFollow()")

    async def run(self, turns: list[dict[str, str]]) -> str:
        """Stream the answer in; its text, or "" where it failed (which is then shown)."""
        drawn = 0.0
        try:
            async for piece in self.gateway.ask(turns):
                self.said.add(piece)
                if time.monotonic() - drawn > _REDRAW_S:
                    drawn = time.monotonic()
                    self._draw(0)
            await self._finish()
        except UndercroftError as error:
            self._failed(error.what, error.why, error.do)
            return ""
        return self.said.text

    def _draw(self, num_sources: int) -> None:
        self.answer.set_content(str(prose.answer(self.said.text, self.anchor, num_sources)))

    async def _finish(self) -> None:
        from nicegui import run

        seconds = time.monotonic() - self.began
        shown = await run.io_bound(chat.sources, self.project, self.said.sources)
        self.answer.classes(remove="waiting")
        self._draw(len(shown))
        self.beside.set_content(str(prose.sources(shown, self.anchor)))
        with self.below:
            self._opinion(seconds)

    def _failed(self, what: str, *more: str) -> None:
        self.answer.classes(remove="waiting")
        self.answer.set_content(str(notice(what, *more)))

    def cancelled(self) -> None:
        """Say under the half answer that it was stopped."""
        self.answer.classes(remove="waiting")
        stopped = h("p", "Stopped.", class_="note")
        self.answer.set_content(str(join(prose.answer(self.said.text), stopped)))

    def _opinion(self, seconds: float) -> None:
        from nicegui import ui

        with ui.element("div").classes("under"):
            trace = h("a", "Trace", href=f"/answers/{self.said.id}")
            words = f"{figures.seconds(seconds)} · {figures.plural(self.said.tokens, 'token')}"
            ui.html(join(trace, f" · {words}"), sanitize=False, tag="span")
            with ui.element("span").classes("thumbs"):
                self.thumbs = {
                    1: self._thumb(1, "up", "Good answer"),
                    -1: self._thumb(-1, "down", "Bad answer"),
                }
            self.thanks = ui.html("", sanitize=False, tag="span")
        with ui.element("div").classes("comment") as self.comment:
            field = (
                ui.element("input")
                .classes("field")
                .props('placeholder="What was right or wrong? (optional)" aria-label="Comment"')
            )
            field.on("keydown", self._commented, js_handler="(e) => undercroftTyped(e, emit)")
        self.comment.set_visibility(False)

    def _thumb(self, rating: int, drawing: str, label: str) -> ui.element:
        from nicegui import ui

        button = ui.element("button").props(f'aria-label="{label}" aria-pressed="false"')
        with button:
            ui.html(icon(drawing), sanitize=False, tag="span")

        async def rate() -> None:
            await self._rate(rating)

        return button.on("click", rate)

    async def _rate(self, rating: int, comment: str = "") -> None:
        try:
            await self.gateway.rate(self.said.id, rating, comment)
        except UndercroftError as error:
            self.thanks.set_content(str(h("span", str(error))))
            return
        self.rating = rating
        for value, button in self.thumbs.items():
            button.props["aria-pressed"] = "true" if value == rating else "false"
            button.update()
        self.comment.set_visibility(not comment)
        self.thanks.set_content("Thank you." if comment else "Noted.")

    async def _commented(self, event: GenericEventArguments) -> None:
        await self._rate(self.rating, str(event.args))


def _suggestions(data: chat.Chat) -> Markup:
    if not data.suggestions:
        return Markup("")
    buttons = [
        h("button", question, type="button", class_="button", data_ask=question)
        for question in data.suggestions
    ]
    return h("div", h("p", "For example", class_="note"), buttons, class_="suggestions")


PAGE = Page(
    pattern="/chat",
    title=lambda _: "Chat",
    load=lambda project, at: chat.read(project, at.query.get("q", "")),
    render=render,
    mount=mount,
)
