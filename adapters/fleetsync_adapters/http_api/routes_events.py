"""Routes for programs that know more than we do: hints that a robot changed, and forced syncs."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from fleetsync.errors import FleetsyncError
from fleetsync_adapters.http_api.failures import ApiError, json_response, refused_item
from fleetsync_adapters.http_api.host import Host
from fleetsync_adapters.http_api.shapes import (
    BATCH_LIMIT,
    EVENT,
    SYNC,
    AcceptedShape,
    ErrorShape,
    EventShape,
    SyncShape,
    batch_of,
    body_of,
    checked,
    in_portions,
    one_or_many,
    read_json,
)
from fleetsync_adapters.http_api.views import robot_view

_PENDING_MAX = 1_000_000


def event_routes(host: Host) -> APIRouter:
    """Events and syncs."""
    router = APIRouter(tags=["events"])
    engine = host.engine

    @router.post("/v1/events", summary="Say that robots changed; answered once the hints are durable",
                 response_model=AcceptedShape, openapi_extra=one_or_many(EventShape),
                 responses={207: {"model": AcceptedShape, "description": "some of a list were refused"},
                            409: {"model": ErrorShape}, 503: {"model": ErrorShape}})
    async def events(request: Request) -> Response:
        given = await read_json(request)
        _refuse_now(host)
        if not isinstance(given, list):
            event_id, future = _notify(host, checked(EVENT, given))
            await host.durable([future])
            return json_response({"accepted": 1, "ids": [event_id], "refused": []})
        taken, refused = await _take(host, batch_of(given))
        await host.durable(taken.values())
        answer = {"accepted": len(taken), "ids": list(taken), "refused": refused}
        return json_response(answer, 207 if refused else 200)

    @router.post("/v1/robots/{robot:path}/sync", summary="A robot's proven state, asked for if it is not known",
                 openapi_extra=body_of(SyncShape.model_json_schema(), required=False),
                 responses={409: {"model": ErrorShape, "description": "the robot or its account is stopped"},
                            503: {"model": ErrorShape},
                            504: {"model": ErrorShape, "description": "not proven in time; says what was missing"}})
    async def sync(robot: str, request: Request) -> Response:
        given = await read_json(request)
        order = checked(SYNC, {} if given is None else given)
        work = engine.sync(robot, max_age_ms=order.max_age_ms, timeout_ms=order.timeout_ms)
        state = await host.unless_closing(work)
        return json_response(robot_view(state, engine.clock.now_ms()))

    return router


def _refuse_now(host: Host) -> None:
    """Nothing is taken that could not be kept: the engine has failed, or far too much waits already."""
    if host.failed:
        raise ApiError(503, "engine_failed", "the engine has failed and looks at nothing any more",
                       hint="start it again")
    if sum(map(len, host.engine.core.inbox.pending.values())) > _PENDING_MAX - BATCH_LIMIT:
        raise ApiError(503, "too_many_pending", f"{_PENDING_MAX - BATCH_LIMIT:,} events wait to be served",
                       hint="send them more slowly: one hint a robot is enough")


def _notify(host: Host, event: EventShape) -> tuple[int, "asyncio.Future[None]"]:
    """Hand one event over: its number, and the future that is done when it is durable."""
    future = host.engine.notify(event.robot, event.kind, order_id=event.order_id, client_id=event.client_id,
                                side=event.side, text=event.text)
    return host.engine.core.inbox.last_id, future


async def _take(host: Host, items: list[Any]) -> tuple[dict[int, "asyncio.Future[None]"], list[dict[str, Any]]]:
    """Take what can be taken of a batch; says of the rest why not."""
    taken: dict[int, asyncio.Future[None]] = {}
    refused: list[dict[str, Any]] = []
    async for index, item in in_portions(items):
        try:
            event_id, future = _notify(host, checked(EVENT, item))
            taken[event_id] = future
        except (ApiError, FleetsyncError) as error:
            why = error.message if isinstance(error, ApiError) else str(error)
            refused.append(refused_item(index, item.get("robot") if isinstance(item, dict) else None, why))
    return taken, refused
