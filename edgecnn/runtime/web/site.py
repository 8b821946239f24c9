"""The page's routes. Everything but the page's own files comes from `Page`; nothing is read from disk for a visitor.

Pictures and figures are fetched again and again, each with a short request of its own. A connection that stays open
(multipart pictures, server-sent events) does not survive a phone's sleep, and then shows the last picture for ever
without a word; a request that fails is noticed at once, and the next one works.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecnn.runtime.loop.metrics import CONTENT_TYPE, exposition
from edgecnn.runtime.web.access import COOKIE_SECONDS, VARIABLE, cookie_name

if TYPE_CHECKING:
    from edgecnn.runtime.web.page import Page

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
FILES = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "plots.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
MOMENT = "X-Edgecnn-Moment"
"""The header that says what was decided about the live picture that it comes with."""
_DIGITS = 20
_Answer = Callable[[Request], Awaitable[Response]]


def site(page: Page, port: int) -> ASGIApp:
    """Return the application that serves a page on a port."""
    routes = [_route("/", _html(page, port)), _route("/healthz", _health(page)), _route("/metrics", _metrics(page))]
    routes += [_route("/state.json", _state(page)), _route("/live.jpg", _live(page))]
    routes += [_route("/events/{number}.jpg", _event(page))]
    routes += [_route(f"/{name}", _file(name, kind)) for name, kind in FILES.items()]
    # Without this, an address that ends in a slash too many is answered with a redirect.
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return _Guard(app, page, port)


class _Guard:
    """Lets in who may look, and puts the headers of safety on every answer, refusals included."""

    def __init__(self, app: ASGIApp, page: Page, port: int) -> None:
        self._app, self._access, self._port = app, page.access, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        answer = self._refusal(Request(scope)) or self._app
        await answer(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a visitor who is not let in, None for all others."""
        if request.method != "GET":
            return _text("This page is for looking only.", 405, {"Allow": "GET"})
        if not self._access.knows(request.headers.get("host", "")):
            return _text("This page answers to localhost, 127.0.0.1 and [::1] only.", 421)
        if self._access.admits(request.headers, self._port):
            return None
        if request.url.path == "/" and self._access.is_token(request.query_params.get("token", "")):
            return None
        return _text(f"Add ?token=... to the address once, with what {VARIABLE} was set to where edgecnn runs.", 401)


def _route(path: str, answer: _Answer) -> Route:
    return Route(path, answer, methods=["GET"])


def _text(text: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers)


def _html(page: Page, port: int) -> _Answer:
    content = (files(__package__) / "index.html").read_bytes()

    async def answer(request: Request) -> Response:
        if "token" not in request.query_params:
            return Response(content, media_type="text/html")
        # Never again in the address bar, the history, or a log.
        response = RedirectResponse("/?kiosk" if "kiosk" in request.query_params else "/", 303)
        if page.access.is_token(request.query_params["token"]):
            response.set_cookie(cookie_name(port), page.access.cookie, COOKIE_SECONDS, httponly=True, samesite="strict")
        return response

    return answer


def _file(name: str, kind: str) -> _Answer:
    content = (files(__package__) / name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _state(page: Page) -> _Answer:
    async def answer(request: Request) -> Response:
        return Response(page.state(), media_type="application/json")

    return answer


def _live(page: Page) -> _Answer:
    """The newest picture; 204 before the first, 304 where the visitor has it already."""

    async def answer(request: Request) -> Response:
        picture = page.picture()
        if picture is None:
            return Response(status_code=204)
        tag = f'"{picture.number}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(picture.jpeg, headers={"ETag": tag, MOMENT: page.told(picture)}, media_type="image/jpeg")

    return answer


def _event(page: Page) -> _Answer:
    async def answer(request: Request) -> Response:
        number = str(request.path_params["number"])
        is_number = number.isascii() and number.isdecimal() and len(number) < _DIGITS
        jpeg = page.event_picture(int(number)) if is_number else None
        if jpeg is None:
            return _text("This event is not kept any more, or has no picture.", 404)
        return Response(jpeg, media_type="image/jpeg")

    return answer


def _health(page: Page) -> _Answer:
    async def answer(request: Request) -> Response:
        alive, told = page.health()
        return Response(told, 200 if alive else 503, media_type="application/json")

    return answer


def _metrics(page: Page) -> _Answer:
    context = page.context

    async def answer(request: Request) -> Response:
        return Response(exposition(context.snapshot(), context.labels), headers={"Content-Type": CONTENT_TYPE})

    return answer
