"""The page, and the one-time link that opens it."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import FastAPI, Request, Response

from tokentrail.server._answering import problem
from tokentrail.server._gate import cookie_name
from tokentrail.server._hosts import place_of
from tokentrail.server._keys import SESSION_SECONDS, Keyring

OPEN: Final = "/open"
_MEDIA: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
_FILES: Final = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}
"""Path → file; no path of a request is ever a path of this machine."""


def add_page(app: FastAPI, keys: Keyring) -> None:
    """Add the routes."""
    for path, name in _FILES.items():
        _add_file(app, path, name)

    @app.get(OPEN, include_in_schema=False)
    async def open_page(request: Request, code: str = "") -> Response:
        """Exchange the code of a one-time link for a cookie, and go to the page."""
        secret = keys.redeem(code)
        place = place_of(request.headers["host"])
        if secret is None or place is None:
            return problem(401, "This link is used up or too old. Make a new one with:  tokentrail open")
        root = request.scope.get("root_path", "")
        answer = Response(status_code=303, headers={"location": f"{root}/"})
        answer.set_cookie(
            cookie_name(place),
            secret,
            max_age=SESSION_SECONDS,
            path=f"{root}/",
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer


def _add_file(app: FastAPI, path: str, name: str) -> None:
    async def page() -> Response:
        text = files("tokentrail.server").joinpath("static", name).read_text(encoding="utf-8")
        return Response(text, media_type=_MEDIA[name.rpartition(".")[2]])

    app.add_api_route(path, page, include_in_schema=False)
