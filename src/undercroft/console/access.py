"""Who may see the console where others can reach it: holders of an API key that may read.

On a loopback address the console belongs to whoever sits at the machine, and asks for nothing. On
any other it asks for a key once and keeps a session in memory; restarting it signs everybody out,
and a key that is revoked ends its sessions. What changes what is served takes a key that may
operate (`check`).
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
from undercroft.errors import Denied
from undercroft.project import Project
from undercroft.records import Principal
from undercroft.trust import allowed

LOCAL = Principal("console", "console", "operator")
"""Whoever sits at the machine."""
WHO = "undercroft.who"  # where the scope of a request has its `Principal`

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
        self._sessions: dict[str, tuple[float, str]] = {}  # token -> monotonic end, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"].startswith(_OPEN):
            await self.app(scope, receive, send)
        elif (who := await self._who(scope)) is not None:
            await self.app({**scope, WHO: who}, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            reply = await self._reply(Request(scope, receive))
            await reply(scope, receive, send)

    async def _who(self, scope: Scope) -> Principal | None:
        """The holder of the session's key, while that key may read."""
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        try:
            cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return None
        token = cookies[COOKIE].value if COOKIE in cookies else ""
        ends, key = self._sessions.get(token, (0.0, ""))
        return await self._reader(key) if ends > time.monotonic() else None

    async def _reader(self, key: str) -> Principal | None:
        from starlette.concurrency import run_in_threadpool

        who = await run_in_threadpool(self.project.trust.keys.identify, key)
        return who if who is not None and allowed(who, "read") else None

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
        key = await self._key(request)
        if key and await self._reader(key) is not None:
            return self._signed_in(wanted, key)
        return _form(self.project.title, wanted, "This key is not valid, or may not read.", 401)

    async def _key(self, request: Request) -> str:
        """What the form holds; empty for a form that is too long. Keys are too random to be
        guessed."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_FORM:
                return ""
        return parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()

    def _signed_in(self, wanted: str, key: str) -> Response:
        now = time.monotonic()
        self._sessions = {token: one for token, one in self._sessions.items() if one[0] > now}
        token = secrets.token_urlsafe(32)
        self._sessions[token] = now + SESSION_S, key
        reply = RedirectResponse(wanted, status_code=303)
        reply.set_cookie(COOKIE, token, max_age=SESSION_S, httponly=True, samesite="strict")
        return reply


def check(project: Project, who: Principal) -> None:
    """Raises `Denied` unless ``who`` may change what is served, and still holds a key."""
    if who == LOCAL:
        return
    if all(each.id != who.id for each in project.trust.keys.list()):
        raise Denied(f"The key {who.name} is not valid any more.", do="Sign in with another.")
    if not allowed(who, "operate"):
        raise Denied(
            f"The key {who.name} may look, and change nothing.",
            f"Its role is {who.role}.",
            "Sign in with another: undercroft key create NAME --role operator",
        )


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
