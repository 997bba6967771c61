"""The child of `test_store_kill`: commits numbered batches, and says so only afterwards.

Every batch writes the same mark to each table, so that a torn one would show. A tiny log limit turns many commits
into checkpoints, the other moment at which a kill could hurt.
"""

import random
import sys

from fleetsync.model import Change, Order, Position
from fleetsync.ports import Batch
from fleetsync_adapters.duckdb_store import DuckDBStore, opening

ROWS = 30
SYMBOL = "BTC/USDT:USDT"


def batch_of(mark: int, last_change: int, rng: random.Random) -> Batch:
    """The batch with this mark: some rows are replaced, some deleted, all of them leave a change."""
    batch = Batch()
    for row in range(ROWS):
        spot = ("a", f"S{row}", "long")
        batch.positions[spot] = None if rng.random() < 0.2 else Position(spot[1], "long", str(mark), "1", mark)
        held = batch.positions[spot]
        after = None if held is None else {"size": held.size}
        batch.changes.append(Change(last_change + row + 1, "a", spot[1], ("r",), "k", "position:long", "event", None,
                                    after, {}, mark, mark))
    order = Order("1", "", SYMBOL, "buy", "limit", "1", str(mark), "0", "open", reduce_only=False, conditional=False,
                  created_at_ms=mark, updated_at_ms=mark)
    batch.orders["a", SYMBOL, "1"] = order
    batch.robots["r"] = {"account": "a", "symbol": SYMBOL, "last_sync_at_ms": mark}
    batch.freezes["mark"] = mark
    batch.events = {mark: {"mark": mark}, mark - 1: None}
    batch.syncs = [{"at_ms": mark, "account": "a"}]
    return batch


def main(path: str, log_limit: str, seed: str) -> None:
    """Commit from the first line on stdin until killed; one line on stdout for each committed mark."""
    sys.stdin.readline()
    opening.CONFIG["wal_autocheckpoint"] = log_limit
    rng = random.Random(int(seed))
    store = DuckDBStore(path)
    held = store.load()
    mark, last_change = held.freezes.get("mark", 0), held.last_change
    print("open", flush=True)
    while True:
        mark += 1
        store.commit(batch_of(mark, last_change, rng), mark)
        last_change += ROWS
        print(mark, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
