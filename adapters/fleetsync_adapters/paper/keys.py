"""The paper exchange's API keys: derived from (seed, account number), so no secret has to be handed over.

They open nothing but a simulation on loopback. Whoever knows the seed can list them, which is their purpose.
"""

import hashlib
import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """One paper account and what a client needs to speak for it."""

    number: int
    id: str
    api_key: str = field(repr=False)
    secret: str = field(repr=False)


def account_id(number: int) -> str:
    """The exchange's own name of its account with this number."""
    return f"paper-{number:05d}"


def account_keys(seed: int, number: int) -> AccountKeys:
    """The key pair of one account."""
    return AccountKeys(number, account_id(number), _derive(seed, number, "key"), _derive(seed, number, "secret"))


def all_account_keys(seed: int, count: int) -> list[AccountKeys]:
    """The key pairs of the accounts 0 to `count` - 1, as a paper exchange with this seed opens them."""
    return [account_keys(seed, number) for number in range(count)]


def _derive(seed: int, number: int, purpose: str) -> str:
    return hmac.digest(b"paper exchange %d" % seed, f"{purpose} {number}".encode(), hashlib.sha256).hex()
