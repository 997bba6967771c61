"""`fleetsync paper-exchange`: the simulated exchange in the foreground, and how to reach it."""

from typing import Any

import click

from fleetsync_adapters.paper.keys import account_keys
from fleetsync_adapters.paper.server import run_paper_exchange

_LEDGER = "paper/ledger/summary"


def serve_paper(*, host: str, port: int, seed: int, accounts: int, **options: Any) -> None:
    """Serve it until SIGINT or SIGTERM.

    Raises:
        AddressInUse: another program has the port.
    """
    def ready(base_url: str) -> None:
        first = account_keys(seed, 0)
        click.echo(f"the paper exchange serves at {base_url} ({accounts} accounts, seed {seed})\n\n"
                   f"  a fleet file reaches it with   [exchanges.binanceusdm]\n"
                   f'                                 base_url = "{base_url}"\n'
                   f"  its first account opens with   export MAIN_KEY={first.api_key}\n"
                   f"                                 export MAIN_SECRET={first.secret}\n"
                   f"  what it has seen:              curl {base_url}/{_LEDGER}\n\n"
                   "Ctrl-C ends it.")

    run_paper_exchange(host, port, seed=seed, accounts=accounts, on_ready=ready, **options)
