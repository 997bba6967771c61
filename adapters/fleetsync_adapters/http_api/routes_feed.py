"""Routes for consumers of the change feed, and the copy of the database for programs on this machine."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from fleetsync_adapters.http_api.failures import ApiError, json_response
from fleetsync_adapters.http_api.gate import is_loopback
from fleetsync_adapters.http_api.host import Host
from fleetsync_adapters.http_api.shapes import NUMBER_LIMIT, ErrorShape, Number, Responses
from fleetsync_adapters.http_api.stream import ChangeStream
from fleetsync_adapters.http_api.views import change_view

_LONGEST_ID = 1_024
_AHEAD: Responses = {
    409: {"model": ErrorShape, "description": "`after` is a number that was never given: of another database"},
    503: {"model": ErrorShape},
}


def feed_routes(host: Host) -> APIRouter:
    """Changes by page and by stream, and snapshots."""
    router = APIRouter(tags=["changes"])
    engine = host.engine

    @router.get("/v1/changes", summary="Committed changes in order; go on with after=last", responses=_AHEAD)
    async def changes(after: Annotated[Number, Query()] = 0, limit: Annotated[int, Query(ge=1, le=1_000)] = 500,
                      robot: Annotated[str | None, Query(max_length=_LONGEST_ID)] = None) -> Response:
        page = await engine.changes_page(after, limit, robot)
        if not page:
            await _refuse_ahead(host, after)
        return json_response({"changes": [change_view(change) for change in page],
                              "last": page[-1].number if page else after})

    @router.get("/v1/changes/stream", summary="The same as Server-Sent Events, without end", response_class=Response,
                responses={200: {"content": {"text/event-stream": {}}}, **_AHEAD})
    async def stream(after: Annotated[Number, Query()] = 0,
                     last_event_id: Annotated[str | None, Header(description="wins over `after`")] = None) -> Response:
        if last_event_id:
            if not re.fullmatch(r"[0-9]{1,16}", last_event_id) or int(last_event_id) > NUMBER_LIMIT:
                raise ApiError(422, "invalid", "Last-Event-ID must be the number of a change")
            after = int(last_event_id)
        await _refuse_ahead(host, after)
        return ChangeStream(host, after)

    @router.post("/v1/snapshot", summary="Copy the database to a file, for a program on this machine",
                 responses={403: {"model": ErrorShape, "description": "asked from another machine"},
                            503: {"model": ErrorShape}})
    async def snapshot(request: Request) -> Response:
        if request.client is None or not is_loopback(request.client.host):
            raise ApiError(403, "not_local", "snapshots are files of this machine, for programs on it")
        return json_response({"path": await host.snapshots.take()})

    return router


async def _refuse_ahead(host: Host, after: int) -> None:
    """Nothing follows a number that was never given: a consumer of another database would wait for ever."""
    if after > host.engine.last_committed and not await host.engine.changes_page(after - 1, 1):
        raise ApiError(409, "ahead_of_feed", f"no change has the number {after}; the last one is "
                       f"{host.engine.last_committed}", hint="begin at 0: this is another database")
