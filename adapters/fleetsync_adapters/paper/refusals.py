"""The exchange's definite "no": its code, its words, its HTTP status."""


class Refusal(Exception):
    """A request that the exchange refuses; nothing of it was done."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(f"{code} {msg}")
        self.code = code
        self.msg = msg
        self.status = status


def unknown_symbol() -> Refusal:
    """The symbol is not listed."""
    return Refusal(-1121, "Invalid symbol.")


def unknown_order() -> Refusal:
    """The order that was asked for is not there."""
    return Refusal(-2013, "Order does not exist.")


def cannot_cancel() -> Refusal:
    """The order to cancel has ended or never was."""
    return Refusal(-2011, "Unknown order sent.")


def missing(name: str) -> Refusal:
    """A mandatory parameter is absent, empty or malformed."""
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def wrong(name: str) -> Refusal:
    """A parameter has a value that is not allowed."""
    return Refusal(-1130, f"Data sent for parameter '{name}' is not valid.")
