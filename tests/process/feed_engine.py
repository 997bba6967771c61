"""A small engine program for the feed's tests: made to be killed. `python -m tests.process.feed_engine DB URL SEED`."""

import asyncio
import signal
import sys

from fleetsync import Account, Engine, ExchangeSpec, Robot, Secret, Settings
from fleetsync_adapters.control import run_file_of
from fleetsync_adapters.http_api import ApiServer
from fleetsync_adapters.paper.keys import all_account_keys
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.tariffs import load_tariff

ACCOUNTS, MARKETS, ROBOTS = 4, 12, 16
TOKEN = "the-token-of-the-feed-tests"
QUICK = Settings(
    workers=0, calls_per_minute=60_000, holding_ms=300, working_ms=300, flat_ms=600, floor_ms=100, confirm_gap_ms=40,
    settle_ms=400, visibility_grace_ms=300, doubt_retry_ms=60, call_timeout_ms=2_000, backoff_ms=40,
    backoff_max_ms=200, account_calls_per_second=500)


def fleet(seed: int) -> tuple[list[Account], list[Robot]]:
    """Accounts with the paper exchange's keys, and robots that share no book."""
    accounts = [Account(keys.id, "binanceusdm", Secret(keys.api_key), Secret(keys.secret))
                for keys in all_account_keys(seed, ACCOUNTS)]
    symbols = [market.symbol for market in Markets(seed, MARKETS).all]
    return accounts, [Robot(f"r{number}", accounts[number % ACCOUNTS].id, symbols[number // ACCOUNTS])
                      for number in range(ROBOTS)]


async def main(db: str, base_url: str, seed: int) -> None:
    """Run until SIGTERM."""
    accounts, robots = fleet(seed)
    tariff = load_tariff("binanceusdm", {"quotas": {"weight": {"limit": 100_000_000}}})
    spec = ExchangeSpec("binanceusdm", base_url=base_url, tariff=tariff, call_timeout_ms=QUICK.call_timeout_ms)
    engine = Engine(accounts, robots, settings=QUICK, exchanges={"binanceusdm": spec}, store=db)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with engine, ApiServer(engine, token=TOKEN, run_file=run_file_of(db)):
        await over.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
