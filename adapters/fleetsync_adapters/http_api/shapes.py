"""What clients may send, as the schema shows it and as it is checked."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request

from fleetsync.events import KINDS
from fleetsync.model import PRIORITY_LEAST, PRIORITY_MOST, Robot
from fleetsync.units import DAY_MS, LONGEST_SPAN_MS, MINUTE_MS, SECOND_MS, s_from_ms
from fleetsync_adapters.fleet_checks import LONGEST_NAME, name_of
from fleetsync_adapters.http_api.failures import ApiError, complaint

BODY_LIMIT = 8 << 20
BATCH_LIMIT = 10_000
NUMBER_LIMIT = 2**53 - 1  # the largest whole number that every JSON reader takes
_KEYS_MOST = 32
_BODY_MS = 30 * SECOND_MS
LONGEST_SYNC_MS = 1 * MINUTE_MS
_PORTION = 250  # a large batch is taken in portions: between them the engine's loop goes on


Shape = TypeVar("Shape", bound=BaseModel)


def _named(text: str) -> str:
    try:
        return name_of(text)
    except ValueError:
        raise ValueError("must be printable, without blanks around it") from None


def _prefix(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be plain ASCII")
    return text


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_named)]
SpanMs = Annotated[int, Field(ge=1, le=LONGEST_SPAN_MS)]
Responses = dict[int | str, dict[str, Any]]  # what a route may answer, for the schema
Number = Annotated[int, Field(ge=0, le=NUMBER_LIMIT)]
Words = Annotated[str, Field(max_length=LONGEST_NAME)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class EventShape(_Shape):
    """A hint that a robot changed, or may have. It is never taken for the truth: the exchange is asked at once."""

    robot: Annotated[str, Field(min_length=1, max_length=1_024, description="the robot's id")]
    kind: Annotated[str, Field(max_length=64, description=f"one of {', '.join(KINDS)}; or other, with text",
                               json_schema_extra={"enum": [*KINDS, "other"]})]
    order_id: Annotated[Words, Field(description="the exchange's id of the order that should become visible")] = ""
    client_id: Annotated[Words, Field(description="the same by your own id")] = ""
    side: Annotated[str, Field(max_length=8, description="the side of the position that should become visible",
                               json_schema_extra={"enum": ["", "long", "short"]})] = ""
    text: Annotated[str, Field(max_length=2_000, description="free words, kept with the event")] = ""


class SyncShape(_Shape):
    """How young the answer has to be, and how long to wait for it."""

    max_age_ms: Annotated[int, Field(ge=0, le=DAY_MS, description="knowledge this young needs no call")] = 0
    timeout_ms: Annotated[int, Field(ge=1, le=LONGEST_SYNC_MS)] = 10 * SECOND_MS


class RobotShape(_Shape):
    """A robot to schedule until the engine ends; one that shall be there at the next start stands in the fleet file."""

    id: Name
    account: Name
    symbol: Annotated[Name, Field(description="ccxt's unified symbol", examples=["BTC/USDT:USDT"])]
    priority: Annotated[float, Field(ge=PRIORITY_LEAST, le=PRIORITY_MOST)] = 1.0
    enabled: bool = True
    holding_ms: SpanMs | None = None
    working_ms: SpanMs | None = None
    flat_ms: SpanMs | None = None
    order_prefix: Annotated[str, Field(max_length=32), AfterValidator(_prefix)] = ""

    def robot(self) -> Robot:
        """As the engine takes it."""
        return Robot(**self.model_dump())


class BudgetShape(_Shape):
    """The operator's cap over all exchanges and workers."""

    calls_per_minute: Annotated[int, Field(ge=1, le=10_000_000)]


class EgressShape(_Shape):
    """Over which of the fleet's ways to its exchange an account is reached from now on."""

    egress: Annotated[str, Field(max_length=LONGEST_NAME, description='as an account names it; "" is the default one')]


class ErrorText(BaseModel):
    """What went wrong, and what to do about it."""

    code: str
    message: str
    hint: str


class ErrorShape(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorText


class RefusedShape(BaseModel):
    """One item of a batch that was not taken."""

    index: int
    robot: str
    why: str


class AcceptedShape(BaseModel):
    """What became of a batch of events."""

    accepted: int
    ids: list[int]
    refused: list[RefusedShape]


class AddedShape(BaseModel):
    """What became of a batch of robots."""

    added: int
    ids: list[str]
    refused: list[RefusedShape]


EVENT = TypeAdapter(EventShape)
ROBOT = TypeAdapter(RobotShape)
SYNC = TypeAdapter(SyncShape)
BUDGET = TypeAdapter(BudgetShape)
EGRESS = TypeAdapter(EgressShape)
PhaseName = Literal["unknown", "holding", "working", "flat"]


async def read_json(request: Request) -> Any:
    """The body as JSON; None when it is empty. No more than the limit is ever held.

    Raises:
        ApiError: too large, too slow, not declared as JSON, or not JSON.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > BODY_LIMIT:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(s_from_ms(_BODY_MS)):
            async for portion in request.stream():
                body += portion
                if len(body) > BODY_LIMIT:
                    raise _too_large()
    except TimeoutError:
        raise ApiError(408, "too_slow", f"the body did not come within {_BODY_MS // SECOND_MS} s") from None
    if not body:
        return None
    # A page in a browser can send other kinds to us without asking; for JSON it has to ask, and is never allowed.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "not_json", "the body must be JSON", hint="send Content-Type: application/json")
    try:
        return _parsed(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "bad_json", f"the body is not valid JSON: at line {error.lineno}, column {error.colno}",
                       hint="UTF-8 without lone surrogates") from None


def _parsed(body: bytearray) -> Any:
    """JSON, made while Python's collector rests: it would look through eight million brackets for a second.

    Raises:
        orjson.JSONDecodeError: it is none.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(body)
    finally:
        if collects:
            gc.enable()


def checked(adapter: "TypeAdapter[Shape]", given: Any) -> Shape:
    """A body as its shape.

    Raises:
        ApiError: it is not of that shape; says where.
    """
    if isinstance(given, dict) and len(given) > _KEYS_MOST:  # each unknown one would become an error of its own
        raise ApiError(422, "invalid", f"{len(given):,} fields, where no shape has more than {_KEYS_MOST}")
    try:
        return adapter.validate_python(given)
    except ValidationError as error:
        raise ApiError(422, "invalid", complaint(error.errors(include_url=False, include_input=False,
                                                              include_context=False))) from None


def batch_of(given: Any) -> list[Any]:
    """The items of a body that is a batch.

    Raises:
        ApiError: there are too many.
    """
    assert isinstance(given, list)
    if len(given) > BATCH_LIMIT:
        raise ApiError(422, "batch_too_large", f"a batch holds at most {BATCH_LIMIT:,} items, this one {len(given):,}",
                       hint="send several batches")
    return given


async def in_portions(items: list[Any]) -> AsyncIterator[tuple[int, Any]]:
    """The items of a batch with their places."""
    for index, item in enumerate(items):
        if index and index % _PORTION == 0:
            await asyncio.sleep(0)
        yield index, item


def _too_large() -> ApiError:
    return ApiError(413, "body_too_large", f"a body holds at most {BODY_LIMIT:,} bytes", hint="send several batches")


def one_or_many(shape: type[BaseModel]) -> dict[str, Any]:
    """The part of the schema for a body that is one item or a list of them."""
    one = shape.model_json_schema()
    many = {"type": "array", "items": one, "maxItems": BATCH_LIMIT}
    return body_of({"oneOf": [one, many]})


def body_of(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """The part of the schema for a body."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}
