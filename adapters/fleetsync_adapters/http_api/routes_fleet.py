"""Routes for the fleet while it runs: robots, accounts, the budget, the engine's own state."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from fleetsync.errors import FleetsyncError
from fleetsync.model import Account, Phase
from fleetsync_adapters.http_api import metrics
from fleetsync_adapters.http_api.failures import ApiError, json_response, refused_item, shortened
from fleetsync_adapters.http_api.host import Host
from fleetsync_adapters.http_api.shapes import (
    BUDGET,
    EGRESS,
    ROBOT,
    AddedShape,
    BudgetShape,
    EgressShape,
    ErrorShape,
    Number,
    PhaseName,
    RobotShape,
    batch_of,
    body_of,
    checked,
    in_portions,
    one_or_many,
    read_json,
)
from fleetsync_adapters.http_api.views import accounts_view, robot_view, robots_view, status_view

Limit = Annotated[int, Query(ge=1, le=1_000)]


def fleet_routes(host: Host) -> APIRouter:
    """Robots, accounts, budget, status, health, metrics."""
    router = APIRouter(tags=["fleet"])
    _robot_routes(router, host)
    _account_routes(router, host)
    _engine_routes(router, host)
    return router


def _robot_routes(router: APIRouter, host: Host) -> None:
    engine = host.engine

    @router.get("/v1/robots", summary="Robots, page by page: go on with after=next until next is null")
    async def robots(after: Annotated[Number, Query()] = 0, limit: Limit = 100,
                     phase: PhaseName | None = None) -> Response:
        return json_response(robots_view(engine, after, limit, None if phase is None else Phase[phase.upper()]))

    @router.post("/v1/robots", summary="Schedule more robots at once; until the engine ends",
                 response_model=AddedShape, openapi_extra=one_or_many(RobotShape),
                 responses={207: {"model": AddedShape, "description": "some of a list were refused"},
                            409: {"model": ErrorShape, "description": "a robot of that id is there already"}})
    async def add_robots(request: Request) -> Response:
        given = await read_json(request)
        if not isinstance(given, list):
            return json_response({"added": 1, "ids": [_add(host, given)], "refused": []})
        added: list[str] = []
        refused: list[dict[str, Any]] = []
        async for index, item in in_portions(batch_of(given)):
            try:
                added.append(_add(host, item))
            except ApiError as error:
                refused.append(refused_item(index, item.get("id") if isinstance(item, dict) else None, error.message))
        return json_response({"added": len(added), "ids": added, "refused": refused}, 207 if refused else 200)

    @router.get("/v1/robots/{robot:path}", summary="What is proven about a robot, from memory")
    async def robot_state(robot: str) -> Response:
        return json_response(robot_view(engine.state(robot), engine.clock.now_ms()))

    @router.get("/v1/explain/{robot:path}", summary="Why a robot is looked at when it is")
    async def explain(robot: str) -> Response:
        return json_response(engine.explain(robot))

    @router.delete("/v1/robots/{robot:path}", summary="Forget a robot")
    async def remove_robot(robot: str) -> Response:
        engine.remove_robot(robot)
        return json_response({"removed": robot})


def _add(host: Host, given: Any) -> str:
    robot = checked(ROBOT, given).robot()
    fleet = host.engine.core.fleet
    if robot.id in fleet.slot_of:
        raise ApiError(409, "robot_exists", f"a robot {robot.id!r} is in the fleet already",
                       hint="remove it first, or choose another id")
    if robot.account not in fleet.account_by_id:
        raise ApiError(422, "unknown_account", f"no account {robot.account!r} in the fleet",
                       hint="GET /v1/accounts names them; new ones stand in the fleet file")
    try:
        host.engine.add_robot(robot)
    except FleetsyncError as error:
        raise ApiError(422, "refused", error.message, hint=error.hint) from error
    return robot.id


def _account_routes(router: APIRouter, host: Host) -> None:
    engine = host.engine

    @router.get("/v1/accounts", summary="Accounts, page by page; never a credential")
    async def accounts(after: Annotated[Number, Query()] = 0, limit: Limit = 100) -> Response:
        return json_response(accounts_view(engine, after, limit))

    @router.post("/v1/accounts/{account:path}/resume", summary="Serve a stopped account again, with the same keys")
    async def resume(account: str) -> Response:
        _known(host, account)
        engine.resume_account(account)
        return json_response({"resumed": account})

    @router.put("/v1/accounts/{account:path}/egress", summary="Reach an account over another egress of the fleet",
                openapi_extra=body_of(EgressShape.model_json_schema()))
    async def egress(account: str, request: Request) -> Response:
        held, order = _known(host, account), checked(EGRESS, await read_json(request))
        engine.change_account(replace(held, egress=order.egress))
        return json_response({"account": account, "egress": order.egress})

    @router.delete("/v1/accounts/{account:path}", summary="Forget an account and its robots, until the engine ends")
    async def remove_account(account: str) -> Response:
        _known(host, account)
        engine.remove_account(account)
        return json_response({"removed": account})


def _known(host: Host, account: str) -> Account:
    state = host.engine.core.fleet.account_by_id.get(account)
    if state is None:
        raise ApiError(404, "unknown_account", f"no account {shortened(account)!r} in the fleet")
    return state.account


def _engine_routes(router: APIRouter, host: Host) -> None:
    engine = host.engine

    @router.put("/v1/budget", summary="Change the cap over all calls, while running",
                openapi_extra=body_of(BudgetShape.model_json_schema()))
    async def budget(request: Request) -> Response:
        order = checked(BUDGET, await read_json(request))
        engine.set_calls_per_minute(order.calls_per_minute)
        return json_response({"calls_per_minute": order.calls_per_minute})

    @router.get("/v1/status", summary="The engine's own state")
    async def status() -> Response:
        return json_response(status_view(engine, host.status(), host.started_at_ms))

    @router.get("/healthz", summary="Whether the engine runs; asked without a token",
                responses={503: {"description": "the engine has failed or is being stopped"}})
    async def health() -> Response:
        fine = not (host.failed or host.closing.is_set())
        body = {"status": "ok" if fine else "failed", "started_at_ms": host.started_at_ms}
        return json_response(body, 200 if fine else 503)

    @router.get("/metrics", summary="The same in Prometheus' text format")
    async def prometheus() -> Response:
        return Response(metrics.text(host), media_type=metrics.CONTENT_TYPE)
