"""The application: pages, charts, downloads and the JSON interface around one store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from textgym.errors import TextGymError
from textgym.feedback.server import api, asking, dashboard, login, moderation
from textgym.feedback.server.gate import Gate
from textgym.feedback.server.site import FOLDER, LoginNeededError, RefusedError, Site, go_to

_IN_WORDS: Mapping[str, str] = {
    "Not Found": "There is no page at this address; check the link.",
    "Method Not Allowed": "This address cannot be used in that way; open it in a browser, or check the method.",
}
"""What the framework says of requests that no page answers, for people."""


def create_app(site: Site, hosts: Iterable[str] = (), *, https: bool = False) -> FastAPI:
    """Make the application.

    Args:
        site: The store, and who may use it.
        hosts: Names that it may be called by, beside ``localhost`` and bare addresses.
        https: Whether browsers speak HTTPS to it, through a proxy.
    """
    app = FastAPI(title="textgym feedback", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    for router in (asking.router, login.router, moderation.router, dashboard.router, api.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.add_exception_handler(LoginNeededError, _ask_who)
    for kind in (RefusedError, HTTPException, RequestValidationError, ValueError, TextGymError, TimeoutError):
        app.add_exception_handler(kind, _explain)
    app.add_middleware(Gate, hosts=tuple(hosts), https=https)
    return app


def _ask_who(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "expected the token"}, 401) if _is_api(request) else go_to("/login")


def _explain(request: Request, error: Exception) -> Response:
    """Say what was wrong, on a page or in JSON."""
    status, message, headers = _meaning(error, is_api=_is_api(request))
    if _is_api(request):
        return JSONResponse({"error": message}, status, headers)
    site: Site = request.app.state.site
    response = site.page(request, "problem.html", site.session(request), status=status, message=message)
    response.headers.update(headers)
    return response


def _meaning(error: Exception, *, is_api: bool) -> tuple[int, str, dict[str, str]]:
    match error:
        case RefusedError():
            return error.status, error.message, error.headers
        case HTTPException():
            return error.status_code, _IN_WORDS.get(error.detail, str(error.detail)), dict(error.headers or {})
        case RequestValidationError():
            if not is_api:
                return 422, "This link is not as it was sent; open the whole link, and nothing more.", {}
            problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            return 422, "; ".join(problems), {}
        case TimeoutError():
            return 503, str(error), {}
        case _:
            return 422, str(error), {}


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")
