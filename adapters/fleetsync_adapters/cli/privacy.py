"""What a run does to keep secrets where they are: no core file, and nothing for child processes to inherit."""

import os
import resource

from fleetsync_adapters.cli.run import RunOrder


def keep_private(order: RunOrder) -> None:
    """Take the secrets that this run was given out of the environment, and let no process of it leave a core file.

    They are in memory by now. Workers get the keys of their accounts over their socket; no other child needs any.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))  # children inherit that, too
    known = _secrets(order)
    for name in [name for name, value in os.environ.items() if value.strip() in known]:
        del os.environ[name]


def _secrets(order: RunOrder) -> set[str]:
    found = {order.http.token or ""} if order.http is not None else set()
    if order.assembly is not None:
        for account in order.assembly.accounts:
            found |= {account.api_key.reveal, account.api_secret.reveal, account.password.reveal}
        found |= set(order.assembly.proxies.values())
    return found - {""}
