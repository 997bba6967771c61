"""Which fault an error is: by HTTP status, by the exchange's own code, by ccxt's class, in this order."""

import ccxt
import pytest

from fleetsync.model import Fault
from fleetsync_adapters.ccxt_errors import CODES, banned_for_ms, detail_of, fault_of, scrubbed

BINANCE = "binanceusdm"


@pytest.mark.parametrize(
    ("error", "exchange", "status", "code", "fault"),
    [
        # one class for both: the status tells them apart
        (ccxt.DDoSProtection(""), BINANCE, 429, "-1003", Fault.RATE_LIMITED),
        (ccxt.DDoSProtection(""), BINANCE, 418, "-1003", Fault.BANNED),
        (ccxt.RateLimitExceeded(""), BINANCE, 400, "-1003", Fault.RATE_LIMITED),
        (ccxt.RateLimitExceeded(""), BINANCE, 400, "-1015", Fault.RATE_LIMITED),
        # a firewall's answer looks like an outage to ccxt
        (ccxt.ExchangeNotAvailable(""), BINANCE, 403, "", Fault.BANNED),
        (ccxt.ExchangeNotAvailable(""), BINANCE, 404, "", Fault.REFUSED),
        (ccxt.ExchangeNotAvailable(""), BINANCE, 502, "", Fault.DOWN),
        (ccxt.ExchangeNotAvailable(""), BINANCE, 503, "", Fault.DOWN),
        (ccxt.ExchangeNotAvailable(""), BINANCE, 0, "", Fault.NETWORK),
        (ccxt.ExchangeError("cut in the middle of the body"), BINANCE, 0, "", Fault.NETWORK),
        (ccxt.RequestTimeout(""), BINANCE, 0, "", Fault.NETWORK),
        (ccxt.RequestTimeout(""), BINANCE, 408, "-1007", Fault.NETWORK),
        (ccxt.OperationFailed(""), BINANCE, 503, "-1008", Fault.DOWN),
        (ccxt.ExchangeError(""), BINANCE, 400, "-1008", Fault.DOWN),
        (ccxt.OperationFailed(""), BINANCE, 400, "-1001", Fault.DOWN),
        (ccxt.InvalidNonce(""), BINANCE, 400, "-1021", Fault.CLOCK),
        (ccxt.BadSymbol(""), BINANCE, 400, "-1121", Fault.BAD_SYMBOL),
        (ccxt.OrderNotFound(""), BINANCE, 400, "-2013", Fault.NOT_FOUND),
        (ccxt.OrderNotFound(""), BINANCE, 200, "-2011", Fault.NOT_FOUND),
        (ccxt.AuthenticationError(""), BINANCE, 401, "-2014", Fault.AUTH),
        (ccxt.DDoSProtection(""), BINANCE, 401, "-2015", Fault.AUTH),  # what ccxt makes of it after a spot call
        (ccxt.AuthenticationError(""), BINANCE, 400, "-1022", Fault.AUTH),
        (ccxt.ExchangeError(""), BINANCE, 400, "-4321", Fault.REFUSED),
        (ccxt.RateLimitExceeded(""), "okx", 200, "50011", Fault.RATE_LIMITED),
        (ccxt.ExchangeError(""), "okx", 200, "50061", Fault.RATE_LIMITED),
        (ccxt.RequestTimeout(""), "okx", 200, "50004", Fault.NETWORK),
        (ccxt.InvalidNonce(""), "okx", 401, "50102", Fault.CLOCK),
        (ccxt.OrderNotFound(""), "okx", 200, "51603", Fault.NOT_FOUND),
        (ccxt.RateLimitExceeded(""), "bybit", 200, "10006", Fault.RATE_LIMITED),
        (ccxt.InvalidNonce(""), "bybit", 200, "10002", Fault.CLOCK),
        (ccxt.ExchangeNotAvailable(""), "bybit", 403, "", Fault.BANNED),
        (ccxt.OrderNotFound(""), "bybit", 200, "0", Fault.NOT_FOUND),
        (ccxt.BadResponse(""), "bybit", 200, "0", Fault.MALFORMED),
        (ccxt.NullResponse(""), "bitget", 200, "", Fault.MALFORMED),
        (ccxt.ExchangeError(""), "bitget", 400, "45001", Fault.DOWN),
        (ccxt.RateLimitExceeded(""), "gate", 429, "TOO_MANY_REQUESTS", Fault.RATE_LIMITED),
        (ccxt.ExchangeError(""), "gate", 400, "ORDER_NOT_FOUND", Fault.NOT_FOUND),
        (ccxt.PermissionDenied(""), "kraken", 403, "", Fault.AUTH),
        (ccxt.OnMaintenance(""), "kraken", 200, "", Fault.DOWN),
        (ccxt.ExchangeNotAvailable(""), "kraken", 200, "", Fault.DOWN),
        (ccxt.InsufficientFunds(""), "kraken", 200, "", Fault.REFUSED),
        # nothing was sent
        (ccxt.ArgumentsRequired(""), "kraken", -1, "", Fault.REFUSED),
        (ccxt.AuthenticationError("a key is missing"), "kraken", -1, "", Fault.AUTH),
        (TypeError(""), "kraken", -1, "", Fault.REFUSED),
        # ccxt stumbled over a body
        (AttributeError(""), BINANCE, 200, "", Fault.MALFORMED),
        (KeyError("positionAmt"), BINANCE, 200, "", Fault.MALFORMED),
    ],
)
def test_each_error_is_the_fault_that_says_what_to_do(
    error: Exception, exchange: str, status: int, code: str, fault: Fault
) -> None:
    assert fault_of(error, exchange=exchange, status=status, code=code) is fault


def test_no_code_table_calls_anything_malformed_or_expired() -> None:
    for table in CODES.values():
        assert not {Fault.MALFORMED, Fault.EXPIRED} & set(table.values())


def test_a_ban_without_a_header_is_read_from_the_words() -> None:
    words = "Way too many requests; IP(1.2.3.4) banned until 1700000005000. Please use the websocket."
    assert banned_for_ms(words, 1_700_000_000_000) == 5_000
    assert banned_for_ms(words, 1_700_000_009_000) == 0
    assert banned_for_ms("no instant here", 1) == 0


@pytest.mark.parametrize(
    "said",
    [
        "error sign! origin_string[1700000000000MYKEYcategory=linear]",
        "Invalid API-key MYKEY, IP, or permissions",
        "Cannot connect to host https://fapi.example/fapi/v1/order?apiKey=MYKEY&signature=abc",
        "proxy http://user:MYKEY@10.0.0.1:3128 refused",
        "signature=" + "a1b2c3d4" * 8,
        "sign " + "c2VjcmV0LW9mLXRoZS10ZXN0cw==" * 2,
    ],
)
def test_no_key_signature_or_address_survives_in_a_detail(said: str) -> None:
    text = detail_of(
        ccxt.ExchangeError("x"), endpoint="GET /x", status=400, code="7", words=said, secrets=("MYKEY", "")
    )
    assert text.startswith("GET /x 400 7 ExchangeError ")
    for secret in ("MYKEY", "a1b2c3d4", "c2VjcmV0", "fapi.example", "10.0.0.1"):
        assert secret not in text


def test_a_detail_is_one_short_line() -> None:
    text = scrubbed("a\n\n b\t" + "words " * 200, ())
    assert "\n" not in text
    assert len(text) <= 240
