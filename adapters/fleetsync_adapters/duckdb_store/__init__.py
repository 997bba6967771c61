"""The embedded store: one DuckDB file, one writer, a transaction a batch.

| file        | responsibility                                                        |
|-------------|-----------------------------------------------------------------------|
| store       | `DuckDBStore`: load, commit, changes, snapshot, and recovery          |
| opening     | creating and opening the file; every reason to refuse one             |
| writing     | one batch inside one transaction                                      |
| schema.sql  | the tables                                                            |
| asked.sql   | one more, since schema 2                                              |
| views.sql   | the same for people: numbers and timestamps                           |
"""

from fleetsync_adapters.duckdb_store.store import DuckDBStore

__all__ = ["DuckDBStore"]
