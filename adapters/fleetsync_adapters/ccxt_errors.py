"""What an exchange call met, as a `Fault`: the only place that names ccxt's error classes.

Three tables, asked in this order: the HTTP status where it decides alone, the exchange's own code, ccxt's class. ccxt's
class alone is not enough: it gives one class to 429 and 418, and takes a firewall's 403 for an outage.
"""

import re
from collections.abc import Iterable

from ccxt.base import errors as ccxt

from fleetsync.model import Fault

LONGEST_DETAIL = 240

# Answered at all, and the status says it whatever the body holds.
_STATUS_FIRST = {418: Fault.BANNED, 429: Fault.RATE_LIMITED}
# The status decides where neither a code of the exchange's nor a definite class does.
_STATUS_THEN = {401: Fault.AUTH, 403: Fault.BANNED, 408: Fault.NETWORK}

_BINANCE = {
    "-1000": Fault.DOWN, "-1001": Fault.DOWN, "-1002": Fault.AUTH, "-1003": Fault.RATE_LIMITED, "-1006": Fault.DOWN,
    "-1007": Fault.NETWORK, "-1008": Fault.DOWN, "-1015": Fault.RATE_LIMITED, "-1016": Fault.DOWN, "-1021": Fault.CLOCK,
    "-1022": Fault.AUTH, "-1109": Fault.AUTH, "-1121": Fault.BAD_SYMBOL, "-2011": Fault.NOT_FOUND,
    "-2013": Fault.NOT_FOUND, "-2014": Fault.AUTH, "-2015": Fault.AUTH, "-2017": Fault.AUTH,
}  # fmt: skip
CODES: dict[str, dict[str, Fault]] = {
    "binance": _BINANCE,
    "binanceusdm": _BINANCE,
    "okx": {
        "50001": Fault.DOWN, "50004": Fault.NETWORK, "50011": Fault.RATE_LIMITED, "50013": Fault.DOWN,
        "50026": Fault.DOWN, "50040": Fault.RATE_LIMITED, "50061": Fault.RATE_LIMITED, "50101": Fault.AUTH,
        "50102": Fault.CLOCK, "50103": Fault.AUTH, "50104": Fault.AUTH, "50105": Fault.AUTH, "50106": Fault.AUTH,
        "50107": Fault.CLOCK, "50110": Fault.AUTH, "50111": Fault.AUTH, "50112": Fault.CLOCK, "50113": Fault.AUTH,
        "50114": Fault.AUTH, "50119": Fault.AUTH, "50120": Fault.AUTH, "51001": Fault.BAD_SYMBOL,
        "51149": Fault.NETWORK, "51603": Fault.NOT_FOUND,
    },
    "bybit": {
        "10000": Fault.DOWN, "10002": Fault.CLOCK, "10003": Fault.AUTH, "10004": Fault.AUTH, "10005": Fault.AUTH,
        "10006": Fault.RATE_LIMITED, "10007": Fault.AUTH, "10009": Fault.BANNED, "10010": Fault.AUTH,
        "10016": Fault.DOWN, "10018": Fault.BANNED, "10429": Fault.RATE_LIMITED, "33004": Fault.AUTH,
        "110001": Fault.NOT_FOUND,
    },
    "bitget": {
        "40005": Fault.CLOCK, "40008": Fault.CLOCK, "40006": Fault.AUTH, "40009": Fault.AUTH, "40011": Fault.AUTH,
        "40012": Fault.AUTH, "40014": Fault.AUTH, "40015": Fault.DOWN, "40018": Fault.AUTH, "40037": Fault.AUTH,
        "40725": Fault.DOWN, "40808": Fault.DOWN, "45001": Fault.DOWN, "43001": Fault.NOT_FOUND,
        "40109": Fault.NOT_FOUND, "25204": Fault.NOT_FOUND, "30007": Fault.RATE_LIMITED, "429": Fault.RATE_LIMITED,
    },
    "gate": {
        "TOO_MANY_REQUESTS": Fault.RATE_LIMITED, "TOO_FAST": Fault.RATE_LIMITED, "REQUEST_EXPIRED": Fault.CLOCK,
        "INVALID_KEY": Fault.AUTH, "INVALID_SIGNATURE": Fault.AUTH, "INVALID_CREDENTIALS": Fault.AUTH,
        "IP_FORBIDDEN": Fault.AUTH, "FORBIDDEN": Fault.AUTH, "READ_ONLY": Fault.AUTH, "SERVER_ERROR": Fault.DOWN,
        "INTERNAL": Fault.DOWN, "TOO_BUSY": Fault.DOWN, "CONTRACT_NOT_FOUND": Fault.BAD_SYMBOL,
        "ORDER_NOT_FOUND": Fault.NOT_FOUND, "AUTO_ORDER_NOT_FOUND": Fault.NOT_FOUND,
    },
}  # fmt: skip

# From the special to the general: the first class that fits decides.
_CLASSES: tuple[tuple[type[BaseException], Fault], ...] = (
    (ccxt.BadResponse, Fault.MALFORMED),
    (ccxt.OrderNotFound, Fault.NOT_FOUND),
    (ccxt.BadSymbol, Fault.BAD_SYMBOL),
    (ccxt.AuthenticationError, Fault.AUTH),
    (ccxt.InvalidNonce, Fault.CLOCK),
    (ccxt.RateLimitExceeded, Fault.RATE_LIMITED),
    (ccxt.DDoSProtection, Fault.RATE_LIMITED),
    (ccxt.OnMaintenance, Fault.DOWN),
    (ccxt.RequestTimeout, Fault.NETWORK),
)
_VAGUE = (ccxt.ExchangeNotAvailable, ccxt.OperationFailed)

_ADDRESS = re.compile(r"[a-z]+://\S+|\?\S+=\S*")  # with credentials, keys and signatures in it
_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
_BLANKS = re.compile(r"\s+")


def fault_of(error: BaseException, *, exchange: str, status: int, code: str) -> Fault:
    """Which fault an error of ccxt's (or of Python's, met inside it) is.

    Args:
        error: What ccxt raised.
        exchange: The ccxt id, for its own codes.
        status: HTTP status of the last request; 0 without an answer, -1 when nothing was sent.
        code: The exchange's own code in the last answer, "" when there was none.
    """
    if status == 0:
        return Fault.NETWORK
    if status in _STATUS_FIRST:
        return _STATUS_FIRST[status]
    known = CODES.get(exchange, {}).get(code)
    if known is not None:
        return known
    for kind, fault in _CLASSES:
        if isinstance(error, kind):
            return fault
    if status in _STATUS_THEN:
        return _STATUS_THEN[status]
    if status >= 500:
        return Fault.DOWN
    if isinstance(error, _VAGUE) and 0 < status < 400:
        return Fault.DOWN
    if isinstance(error, ccxt.BaseError) or status < 0:
        return Fault.REFUSED
    return Fault.MALFORMED  # ccxt stumbled over the body: AttributeError, KeyError, ...


def banned_for_ms(words: str, now_ms: int) -> int:
    """How long a ban lasts by the exchange's words, where no header says it (Binance); 0 where they do not either."""
    until = _BANNED_UNTIL.search(words)
    return max(0, int(until[1]) - now_ms) if until else 0


def broken_body(words: str) -> Exception:
    """The error to raise for a 200 whose body is not what was asked for."""
    error: Exception = ccxt.BadResponse(words)
    return error


def order_not_found(words: str) -> Exception:
    """The error to raise where an exchange tells so otherwise than by an error of its own."""
    error: Exception = ccxt.OrderNotFound(words)
    return error


def detail_of(
    error: BaseException, *, endpoint: str, status: int, code: str, words: str, secrets: Iterable[str]
) -> str:
    """What happened, for people: no query, no key, no signature, one line.

    Exchanges repeat what they were sent (bybit: the very text that was signed, with the key in it), so known secrets
    are starred out, and so is whatever looks like one.
    """
    said = words or ("" if status > 0 else str(error.__cause__ or error).split(" http", 1)[0])
    parts = (str(status) if status > 0 else "", code, type(error).__name__, said)
    return f"{endpoint} {scrubbed(' '.join(part for part in parts if part), secrets)}"


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """The text without secrets, addresses, queries and long tokens, on one line and not too long."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _TOKEN.sub("***", _ADDRESS.sub("", text))
    return _BLANKS.sub(" ", text)[:LONGEST_DETAIL]
