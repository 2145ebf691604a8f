"""Who may see the console where others can reach it: holders of an API key that may read.

On a loopback address the console belongs to whoever sits at the machine, and asks for nothing. On
any other it asks for a key once and keeps a session in memory; restarting it signs everybody out.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from undercroft.console.components.icons import arches
from undercroft.console.components.theme import head
from undercroft.console.markup import Markup, h
from undercroft.project import Project
from undercroft.trust import allowed

COOKIE = "undercroft_session"
SIGN_IN = "/sign-in"
SESSION_S = 8 * 3600
_OPEN = ("/assets/", "/favicon.ico")
_LONGEST_FORM = 4096


class SignIn:
    """ASGI middleware: lets through what carries a session, and makes sessions from keys."""

    def __init__(self, app: ASGIApp, project: Project) -> None:
        self.app = app
        self.project = project
        self._sessions: dict[str, float] = {}  # token -> when it ends, on the monotonic clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._may_pass(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            reply = await self._reply(Request(scope, receive))
            await reply(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        return scope["path"].startswith(_OPEN) or self._has_session(scope)

    def _has_session(self, scope: Scope) -> bool:
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        try:
            cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return False
        token = cookies[COOKIE].value if COOKIE in cookies else ""
        return self._sessions.get(token, 0.0) > time.monotonic()

    async def _reply(self, request: Request) -> Response:
        here = request.url.path
        if here != SIGN_IN:
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"{SIGN_IN}?next={quote(here + query)}", status_code=303)
        wanted = request.query_params.get("next", "/")
        # A path of this console only: "//host" and "/\host" would lead a browser elsewhere.
        safe = wanted.startswith("/") and wanted[1:2] not in ("/", "\\")
        wanted = wanted if safe else "/"
        if request.method != "POST":
            return _form(self.project.title, wanted)
        if await self._is_key(request):
            return self._signed_in(wanted)
        return _form(self.project.title, wanted, "This key is not valid, or may not read.", 401)

    async def _is_key(self, request: Request) -> bool:
        """Whether the form holds a key that may read. Keys are too random to be guessed."""
        from starlette.concurrency import run_in_threadpool

        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_FORM:
                return False
        key = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()
        who = await run_in_threadpool(self.project.trust.keys.identify, key)
        return who is not None and allowed(who, "read")

    def _signed_in(self, wanted: str) -> Response:
        now = time.monotonic()
        self._sessions = {token: ends for token, ends in self._sessions.items() if ends > now}
        token = secrets.token_urlsafe(32)
        self._sessions[token] = now + SESSION_S
        reply = RedirectResponse(wanted, status_code=303)
        reply.set_cookie(COOKIE, token, max_age=SESSION_S, httponly=True, samesite="strict")
        return reply


def _form(title: str, wanted: str, problem: str = "", status: int = 200) -> Response:
    form = h(
        "form",
        h("span", arches(), h("span", h("b", "Undercroft"), h("small", title)), class_="brand"),
        h("label", "API key", for_="key"),
        h("input", id="key", name="key", type="password", class_="field", required=True,
          autofocus=True, autocomplete="current-password"),
        h("p", problem, class_="note", role="alert") if problem else None,
        h("button", "Sign in", class_="button primary"),
        h("p", "Any key whose role may read: undercroft key create NAME --role console",
          class_="note"),
        method="post",
        action=f"{SIGN_IN}?next={quote(wanted)}",
        class_="card section sign-in",
    )  # fmt: skip
    page = Markup(
        '<!doctype html><html lang="en"><head><title>Sign in · {}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">{}</head>'
        "<body><main>{}</main></body></html>"
    ).format(title, head(), form)
    return HTMLResponse(str(page), status_code=status)
