"""Whom the store with a file refuses, and how it says so."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from tests.contract.store_rigs import AT_MS, SYMBOL, change

from fleetsync.errors import StoreRefused
from fleetsync.ports import Batch
from fleetsync_adapters.control import run_file_of
from fleetsync_adapters.duckdb_store import DuckDBStore

ROBOTS = {f"r{n}": {"account": "main", "symbol": SYMBOL, "phase": n} for n in range(3)}


def test_a_database_of_another_program_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "theirs.duckdb"
    with duckdb.connect(str(path)) as theirs:
        theirs.execute("CREATE TABLE meta (name VARCHAR, value VARCHAR); INSERT INTO meta VALUES ('application', 'x')")
    before = path.read_bytes()
    with pytest.raises(StoreRefused, match="another program"):
        DuckDBStore(str(path))
    assert path.read_bytes() == before


def test_an_empty_database_without_our_mark_is_refused(tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "x.duckdb")).close()
    with pytest.raises(StoreRefused, match="another program"):
        DuckDBStore(str(tmp_path / "x.duckdb"))


def test_a_database_of_a_newer_version_is_refused_and_says_which(tmp_path: Path) -> None:
    path = str(tmp_path / "x.duckdb")
    DuckDBStore(path).close()
    with duckdb.connect(path) as newer:
        newer.execute("UPDATE meta SET value = '3' WHERE name = 'schema'")
    with pytest.raises(StoreRefused, match=r"schema 3; this one reads 2"):
        DuckDBStore(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 100_000])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StoreRefused, match="not a DuckDB database"):
        DuckDBStore(str(path))
    assert path.read_bytes() == content


def test_an_sqlite_file_is_refused_without_fetching_a_reader_for_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE t (i)")
    theirs.commit()
    theirs.close()
    with pytest.raises(StoreRefused, match="not a DuckDB database"):
        DuckDBStore(str(path))


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="is a directory"):
        DuckDBStore(str(tmp_path))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreRefused, match="is no file"):
        DuckDBStore(str(tmp_path / "pipe"))


def test_a_file_behind_a_link_is_known_by_its_own_name_and_its_log_is_as_private(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.duckdb").symlink_to(tmp_path / "real" / "state.duckdb")
    store = DuckDBStore(str(tmp_path / "link.duckdb"))
    try:
        store.commit(Batch(changes=[change(1)]), AT_MS)
        for name in ("state.duckdb", "state.duckdb.wal"):
            assert (tmp_path / "real" / name).stat().st_mode & 0o777 == 0o600
        assert run_file_of(str(tmp_path / "link.duckdb")) == run_file_of(str(tmp_path / "real" / "state.duckdb"))
        with pytest.raises(StoreRefused, match="in use"):
            DuckDBStore(str(tmp_path / "real" / "state.duckdb"))
    finally:
        store.close()


def test_a_missing_directory_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match=str(tmp_path / "none")):
        DuckDBStore(str(tmp_path / "none" / "x.duckdb"))


def test_a_damaged_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    DuckDBStore(str(path)).close()
    data = bytearray(path.read_bytes())
    for block in range(4096, len(data), 4096):
        data[block + 16] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StoreRefused, match=r"damaged.*snapshot"):
        DuckDBStore(str(path))


def test_a_file_in_use_is_refused_with_the_pid_that_holds_it(tmp_path: Path) -> None:
    path = str(tmp_path / "x.duckdb")
    DuckDBStore(path).close()
    code = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreRefused, match=f"in use by the process with PID {holder.pid}"):
            DuckDBStore(path)
        holder.communicate()
    DuckDBStore(path).close()


def test_a_second_store_on_one_file_in_one_process_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    first = DuckDBStore(str(path))
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "link"):
        with pytest.raises(StoreRefused, match=f"PID {os.getpid()}"):
            DuckDBStore(str(name))
    first.commit(Batch(robots=dict(ROBOTS)), AT_MS)
    first.close()
    second = DuckDBStore(str(path))
    assert second.load().robots.keys() == ROBOTS.keys()
    second.close()


@contextmanager
def unwritable_directory() -> Iterator[Path]:
    """A directory that this process cannot write in, also when the tests run as root."""
    directory = Path(tempfile.mkdtemp())
    made = directory / "there.duckdb"
    DuckDBStore(str(made)).close()
    made.chmod(0o666)
    directory.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield directory
    finally:
        if user == 0:
            os.seteuid(0)
        directory.chmod(0o755)
        shutil.rmtree(directory)


@pytest.mark.parametrize("name", ["new.duckdb", "there.duckdb"])
def test_an_unwritable_directory_is_refused_before_anything_is_lost(name: str) -> None:
    with unwritable_directory() as directory, pytest.raises(StoreRefused, match="cannot write in directory"):
        DuckDBStore(str(directory / name))


def test_a_file_that_cannot_be_read_is_refused() -> None:
    with unwritable_directory() as directory:
        user = os.geteuid()
        os.seteuid(0) if user == 65_534 else None
        (directory / "there.duckdb").chmod(0)
        os.seteuid(user)
        with pytest.raises(StoreRefused, match="cannot read"):
            DuckDBStore(str(directory / "there.duckdb"))


def test_every_refusal_is_one_line_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no")
    for path in (tmp_path, tmp_path / "x", tmp_path / "none" / "x"):
        with pytest.raises(StoreRefused) as caught:
            DuckDBStore(str(path))
        assert caught.value.hint
        assert "\n" not in str(caught.value)


# -- reading only


def test_readers_share_a_file_and_may_not_commit(tmp_path: Path) -> None:
    path = str(tmp_path / "x.duckdb")
    writer = DuckDBStore(path)
    writer.commit(Batch(robots=dict(ROBOTS), changes=[change(1)]), AT_MS)
    writer.close()
    reader = DuckDBStore(path, readonly=True)
    code = "import sys, duckdb; print(duckdb.connect(sys.argv[1], read_only=True).execute('FROM robots').fetchall())"
    subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True)
    assert len(reader.load().robots) == 3
    assert [c.number for c in reader.changes(0, 9)] == [1]
    reader.snapshot(str(tmp_path / "copy.duckdb"))
    with pytest.raises(StoreRefused, match="read only"):
        reader.commit(Batch(robots=dict(ROBOTS)), AT_MS)
    reader.close()
    copy = DuckDBStore(str(tmp_path / "copy.duckdb"))
    assert len(copy.load().robots) == 3
    copy.close()


def test_nothing_is_made_where_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="no database"):
        DuckDBStore(str(tmp_path / "x.duckdb"), readonly=True)
    assert os.listdir(tmp_path) == []
