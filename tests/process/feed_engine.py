"""An engine program for tests, made to be killed: `python -m tests.process.feed_engine DB URL SEED [NAME=VALUE]...`."""

import asyncio
import signal
import sys
from dataclasses import asdict, dataclass

from fleetsync import Account, Engine, ExchangeSpec, Robot, Secret, Settings
from fleetsync_adapters.control import run_file_of
from fleetsync_adapters.duckdb_store import DuckDBStore
from fleetsync_adapters.http_api import ApiServer
from fleetsync_adapters.paper.keys import all_account_keys
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.tariffs import load_tariff

TOKEN = "the-token-of-the-feed-tests"
QUICK = Settings(
    calls_per_minute=60_000, holding_ms=300, working_ms=300, flat_ms=600, floor_ms=100, confirm_gap_ms=40,
    settle_ms=400, visibility_grace_ms=300, doubt_retry_ms=60, call_timeout_ms=2_000, backoff_ms=40,
    backoff_max_ms=200, account_calls_per_second=500)


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet whose robots share no book, and how it is kept."""

    accounts: int = 4
    robots: int = 16
    markets: int = 12
    workers: int = 0
    every_ms: int = 300  # a holding robot; a flat one half as often
    settle_ms: int = 400
    syncs_kept: int = 1_000_000
    silence_ms: int = 12_000  # a worker that says nothing for so long is replaced

    def arguments(self) -> list[str]:
        """For the program's command line."""
        return [f"{name}={value}" for name, value in asdict(self).items()]

    @property
    def settings(self) -> Settings:
        return QUICK.but(workers=self.workers, holding_ms=self.every_ms, working_ms=self.every_ms,
                         flat_ms=2 * self.every_ms, settle_ms=self.settle_ms, worker_silence_ms=self.silence_ms)


def fleet(seed: int, plan: Plan) -> tuple[list[Account], list[Robot]]:
    """Accounts with the paper exchange's keys, and robots that share no book."""
    accounts = [Account(keys.id, "binanceusdm", Secret(keys.api_key), Secret(keys.secret))
                for keys in all_account_keys(seed, plan.accounts)]
    symbols = [market.symbol for market in Markets(seed, plan.markets).all]
    return accounts, [Robot(f"r{number}", accounts[number % plan.accounts].id, symbols[number // plan.accounts])
                      for number in range(plan.robots)]


async def main(db: str, base_url: str, seed: int, plan: Plan) -> None:
    """Run until SIGTERM."""
    accounts, robots = fleet(seed, plan)
    tariff = load_tariff("binanceusdm", {"quotas": {"weight": {"limit": 100_000_000}}})
    spec = ExchangeSpec("binanceusdm", base_url=base_url, tariff=tariff, call_timeout_ms=QUICK.call_timeout_ms)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    engine = Engine(accounts, robots, settings=plan.settings, exchanges={"binanceusdm": spec},
                    store=DuckDBStore(db, syncs_kept=plan.syncs_kept))
    async with engine, ApiServer(engine, token=TOKEN, run_file=run_file_of(db)):
        await over.wait()


if __name__ == "__main__":
    more = dict(argument.split("=") for argument in sys.argv[4:])
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]),
                     Plan(**{name: int(value) for name, value in more.items()})))
