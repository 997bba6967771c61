"""Every message survives the wire exactly, and no bytes do worse than a `WireError`."""

import contextlib
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fuzzing import tried

from fleetsync.config import CADENCE_MODES, Settings
from fleetsync.messages import AddAccount, Answer, Call, Dispatch, Request, SyncDone, WorkerLost
from fleetsync.model import Account, Fault, Order, Position, Secret, Surface
from fleetsync.ports import ExchangeSpec
from fleetsync.tariff import Cost, Quota, Scope, Tariff
from fleetsync.units import LONGEST_SPAN_MS
from fleetsync.wire import FRAME_MAX, VERSION, Beat, Drain, FrameDecoder, Hello, Message, WireError, encode

INTS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)  # a lone surrogate is no text that can travel
POSITIVE = st.integers(1, 2**40)
JSON = st.recursive(st.none() | st.booleans() | INTS | TEXTS | st.floats(allow_nan=False, allow_infinity=False),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5)
for kind, strategy in {str: TEXTS, int: INTS}.items():
    st.register_type_strategy(kind, strategy)

SETTINGS = st.builds(Settings, workers=st.integers(0, 64), calls_per_minute=POSITIVE, urgent_share=st.floats(0, 0.9),
                     jitter=st.floats(0, 0.5), mode=st.sampled_from(CADENCE_MODES),
                     worker_silence_ms=st.integers(1, LONGEST_SPAN_MS))
TARIFFS = st.builds(
    Tariff, exchange=TEXTS, quotas=st.lists(st.builds(Quota, TEXTS, st.sampled_from(Scope), POSITIVE, POSITIVE,
                                                      st.booleans()), max_size=2).map(tuple),
    costs=st.dictionaries(TEXTS, st.builds(Cost, TEXTS, st.lists(st.tuples(TEXTS, INTS), max_size=2).map(tuple)),
                          max_size=3),
    page_rows=st.dictionaries(st.sampled_from(Surface), INTS, max_size=3))
SPECS = st.builds(ExchangeSpec, exchange=TEXTS, egress=TEXTS, base_url=TEXTS, proxy=TEXTS, factory=TEXTS,
                  tariff=st.none() | TARIFFS, options=st.dictionaries(TEXTS, JSON, max_size=3), call_timeout_ms=INTS)
HELLOS = st.builds(Hello, INTS, INTS, SETTINGS, st.lists(SPECS, max_size=2).map(tuple))
MESSAGES: st.SearchStrategy[Message] = HELLOS | st.one_of(
    *(st.from_type(kind) for kind in Message.__args__ if kind is not Hello))

EXACT = tried(150)

CALL = Call(Surface.ORDERS, "BTC/USDT:USDT")
DONE = SyncDone(7, (Answer(CALL, 5, complete=True),), (Request("GET /orders", 1, 5, 200),))


def answer_of(rows: Any) -> SyncDone:
    return SyncDone(7, (Answer(CALL, 5, complete=True, rows=rows),), ())


def frame(body: object, version: int = VERSION) -> bytes:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return struct.pack(">BI", version, len(data)) + data


@EXACT
@given(st.lists(MESSAGES, max_size=4))
def test_every_message_round_trips_exactly(messages: list[Message]) -> None:
    read = FrameDecoder().feed(encode(messages))
    assert read == messages
    assert repr(read) == repr(messages)  # equality alone would take True for 1 and "open" for Surface.OPEN


@EXACT
@given(st.lists(st.lists(MESSAGES, max_size=2), max_size=3), st.integers(1, 40))
def test_frames_may_arrive_in_pieces_of_any_size(batches: list[list[Message]], piece: int) -> None:
    data, decoder = b"".join(map(encode, batches)), FrameDecoder()
    read = [message for at in range(0, len(data), piece) for message in decoder.feed(data[at:at + piece])]
    assert read == [message for batch in batches for message in batch]


@EXACT
@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        FrameDecoder().feed(data)


@EXACT
@given(st.binary(max_size=200) | JSON.map(orjson.dumps) | st.lists(st.lists(JSON, max_size=8)).map(orjson.dumps))
def test_any_body_is_messages_or_a_wire_error(body: bytes) -> None:
    with contextlib.suppress(WireError):
        FrameDecoder().feed(frame(body))


@EXACT
@given(st.data())
def test_a_frame_with_anything_swapped_inside_is_messages_or_a_wire_error(data: st.DataObject) -> None:
    """Mutations of real frames get past the outer checks that random bytes stop at."""
    message = orjson.loads(encode([data.draw(MESSAGES)])[5:])[0]
    place: list[Any] = message
    while place:
        at = data.draw(st.integers(0, len(place) - 1))
        if not isinstance(place[at], list) or data.draw(st.booleans()):
            place[at] = data.draw(JSON)
            break
        place = place[at]
    try:
        read = FrameDecoder().feed(frame([message]))
    except WireError:
        return
    assert encode(read)  # what was let in is whole: it can be written again


def test_a_question_that_was_read_before_is_no_proof_for_one_that_only_equals_it() -> None:
    row = orjson.loads(encode([Dispatch(1, "main", (Call(Surface.ORDERS, "BTC/USDT:USDT"),), 0)])[5:])
    decoder = FrameDecoder()
    assert decoder.feed(frame(row)) == [Dispatch(1, "main", (Call(Surface.ORDERS, "BTC/USDT:USDT"),), 0)]
    call = row[0][3][0]
    assert call[-2:] == [1, False]
    call[-2:] = [True, 0]  # equal in Python, but not what the fields hold
    with pytest.raises(WireError, match="not the fields of a Call"):
        decoder.feed(frame(row))
    with pytest.raises(WireError, match="TypeError"):
        FrameDecoder().feed(frame([[*row[0][:3], [["orders", [], "", "", 0, 1, False]], *row[0][4:]]]))


def test_a_foreign_version_is_refused_at_its_first_byte() -> None:
    with pytest.raises(WireError, match=f"version 9, this is version {VERSION}"):
        FrameDecoder().feed(frame([], version=9)[:1])


def test_a_frame_that_announces_too_much_is_refused_before_it_is_read() -> None:
    with pytest.raises(WireError, match=f"{FRAME_MAX + 1} bytes"):
        FrameDecoder().feed(struct.pack(">BI", VERSION, FRAME_MAX + 1))


def test_a_decoder_gives_nothing_more_after_an_error() -> None:
    decoder = FrameDecoder()
    for data in (frame(b"nonsense"), encode([DONE])):
        with pytest.raises(WireError):
            decoder.feed(data)


def test_a_batch_larger_than_a_frame_travels_in_several() -> None:
    batch = [answer_of((Position("x" * 100, "long", "1", "1", n),)) for n in range(50)]
    data = encode(batch, frame_max=1_000)
    assert FrameDecoder(frame_max=1_000).feed(data) == batch


def test_a_message_larger_than_a_frame_is_an_error_that_names_its_size() -> None:
    with pytest.raises(WireError, match=r"SyncDone of \d{4} bytes .*1000 bytes"):
        encode([DONE, answer_of((Position("x" * 2_000, "long", "1", "1", 0),))], frame_max=1_000)


@pytest.mark.parametrize("bad", ["\ud800", 2**70, object(), 1.5j])
def test_what_cannot_be_written_is_an_error_without_the_value(bad: Any) -> None:
    with pytest.raises(WireError) as caught:
        encode([WorkerLost(1, bad)])
    assert repr(bad) not in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("reduce_only", 1), ("created_at_ms", 0.0), ("size", None), ("id", [])])
def test_a_row_with_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    order = Order("1", "", "s", "buy", "limit", "1", "1", "0", "open", reduce_only=False, conditional=False,
                  created_at_ms=0, updated_at_ms=0)
    body = orjson.loads(encode([answer_of((order,))])[5:])
    row = body[0][2][0][3][1]
    row[Order._fields.index(field)] = value
    with pytest.raises(WireError, match="Order"):
        FrameDecoder().feed(frame(body))


def test_secrets_travel_with_an_account_and_show_nowhere() -> None:
    account = Account("a", "echo", Secret("sesame-1"), Secret("sesame-2"), Secret("sesame-3"))
    [message] = FrameDecoder().feed(encode([AddAccount(account, ())]))
    assert isinstance(message, AddAccount)
    assert message.account.api_secret.reveal == "sesame-2"
    assert "sesame" not in repr(message)
    with pytest.raises(WireError) as caught:
        encode([AddAccount(account, ("\ud800",))])
    body = orjson.loads(encode([AddAccount(account, ())])[5:])
    body[0][1][3] = ["sesame-2", "more"]
    with pytest.raises(WireError) as caught_too:
        FrameDecoder().feed(frame(body))
    assert "sesame" not in f"{caught.value} {caught.value.__cause__} {caught_too.value}"


def test_small_messages_are_small() -> None:
    assert len(encode([Beat(1)])) < 20
    assert len(encode([Drain(100), Dispatch(1, "acct", (CALL,), 1_790_000_000_000)])) < 120
    assert len(encode([Beat(1)] * 10)) < 10 * len(encode([Beat(1)]))


def test_faults_and_surfaces_come_back_as_themselves() -> None:
    [message] = FrameDecoder().feed(encode([SyncDone(1, (Answer(CALL, 5, fault=Fault.NETWORK),), ())]))
    assert isinstance(message, SyncDone)
    assert message.answers[0].fault is Fault.NETWORK
    assert message.answers[0].call.surface is Surface.ORDERS
