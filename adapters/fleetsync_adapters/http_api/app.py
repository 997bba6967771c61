"""The routes put together: errors as JSON, the schema, the page for people, and a count of answers."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleetsync.errors import FleetsyncError
from fleetsync_adapters.http_api import docs
from fleetsync_adapters.http_api.failures import (
    ApiError,
    api_error,
    complaint,
    error_response,
    http_error,
    internal,
    json_response,
)
from fleetsync_adapters.http_api.gate import Gate
from fleetsync_adapters.http_api.host import Host
from fleetsync_adapters.http_api.routes_events import event_routes
from fleetsync_adapters.http_api.routes_feed import feed_routes
from fleetsync_adapters.http_api.routes_fleet import fleet_routes
from fleetsync_adapters.http_api.shapes import ErrorShape, Responses
from fleetsync_adapters.http_api.views import VERSION

_TOLD = ("Knows what the exchanges hold for each robot, and how old that knowledge is. Instants are milliseconds since "
         "the epoch, sizes and prices are decimal strings. Robot ids in paths are percent-encoded.")
_ANY_ERROR: Responses = {"4XX": {"model": ErrorShape, "description": "refused: what, and what to do"},
              422: {"model": ErrorShape, "description": "not of the right shape; says where"}}


def make_app(host: Host, *, token: str | None) -> ASGIApp:
    """The application that uvicorn serves."""
    app = FastAPI(title="fleetsync", version=VERSION, description=_TOLD, docs_url=None, redoc_url=None,
                  openapi_url=None, redirect_slashes=False, responses=_ANY_ERROR)
    for routes in (event_routes, feed_routes, fleet_routes):
        app.include_router(routes(host))
    _add_pages(app, secured=token is not None)
    _add_error_handlers(app)
    return _Counted(Gate(app, token=token), host.requests)


def _add_pages(app: FastAPI, *, secured: bool) -> None:
    def schema() -> dict[str, Any]:
        made = app.openapi()
        if secured:
            made.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            made["security"] = [{"token": []}]
        return made

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return json_response(schema())

    @app.get("/docs", include_in_schema=False)
    async def people() -> Response:
        return HTMLResponse(docs.page(schema()), headers={"Content-Security-Policy": docs.CONTENT_POLICY})


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def refused(_request: Request, error: ApiError) -> Response:
        return error_response(error)

    @app.exception_handler(FleetsyncError)
    async def failed(_request: Request, error: FleetsyncError) -> Response:
        return error_response(api_error(error))

    @app.exception_handler(HTTPException)
    async def no_route(_request: Request, error: HTTPException) -> Response:
        response = error_response(http_error(error.status_code, str(error.detail)))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return error_response(ApiError(422, "invalid", complaint(error.errors())))

    @app.exception_handler(ClientDisconnect)
    async def left(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(Exception)
    async def broken(_request: Request, error: Exception) -> Response:
        return error_response(internal(error))


class _Counted:
    """Counts answers by status; ends what an answered failure would do to the server's log."""

    def __init__(self, app: ASGIApp, counts: dict[int, int]) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        answered = False

        async def counted(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                status = message["status"]
                self._counts[status] = self._counts.get(status, 0) + 1
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception as error:  # noqa: BLE001 - the last one that could answer, whatever it was
            if not answered:  # after an answer it is in our log already: the handler of the routes wrote it there
                await error_response(internal(error))(scope, receive, counted)
