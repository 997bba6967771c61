"""The crew inside programs as people write them: guarded or not, killed, interrupted, from a pipe or one line."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.process.crew_support import PATIENCE_S, is_running, until

pytestmark = pytest.mark.process

HEAD = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
BODY = """
import asyncio
from fleetsync.clock import SystemClock
from fleetsync.config import Settings
from fleetsync.crew import ProcessCrew
from fleetsync.messages import WorkerUp
from fleetsync.ports import ExchangeSpec
from tests.process.echo_exchange import FACTORY

async def main(seconds):
    up = asyncio.Event()
    pids = []
    def deliver(messages):
        pids.extend(message.pid for message in messages if isinstance(message, WorkerUp))
        if len(pids) == 2:
            up.set()
    crew = ProcessCrew([ExchangeSpec("echo", factory=FACTORY)], Settings(workers=2), SystemClock())
    await crew.start(deliver)
    await asyncio.wait({asyncio.ensure_future(up.wait()), crew.failed}, return_when=asyncio.FIRST_COMPLETED)
    if crew.failed.done():
        await crew.stop(0)
        crew.failed.result()
    print(*pids, flush=True)
    try:
        await asyncio.sleep(seconds)
    finally:
        await crew.stop(2000)
        print("stopped", flush=True)
"""
GUARDED = HEAD + BODY + "\nif __name__ == '__main__':\n    asyncio.run(main(SECONDS))\n"
UNGUARDED = HEAD + BODY + "\nasyncio.run(main(0))\n"


def run(*command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], input=text, capture_output=True, text=True, check=False,
                          timeout=2 * PATIENCE_S)


def test_a_guarded_script_runs(tmp_path: Path) -> None:
    script = tmp_path / "fleet.py"
    script.write_text(GUARDED.replace("SECONDS", "0"))
    ended = run(str(script))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("stopped\n")
    assert ended.stderr == ""


def test_a_script_without_a_main_guard_ends_and_says_what_to_write(tmp_path: Path) -> None:
    script = tmp_path / "fleet.py"
    script.write_text(UNGUARDED)
    ended = run(str(script))
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("fleetsync.errors.CrewLost")
    assert 'if __name__ == "__main__":' in last
    assert len(ended.stderr) < 20_000  # it did not respawn for long


def test_a_missing_guard_is_noticed_whatever_the_script_does_with_errors(tmp_path: Path) -> None:
    script = tmp_path / "fleet.py"
    script.write_text(HEAD + BODY + "\ntry: asyncio.run(main(0))\nexcept Exception as e: print(e); sys.exit(3)\n")
    ended = run(str(script))
    assert ended.returncode == 3
    assert 'if __name__ == "__main__":' in ended.stdout.splitlines()[-1]
    assert "stopped" not in ended.stdout


@pytest.mark.parametrize("how", ["-c", "-"])
def test_a_program_from_a_line_or_a_pipe_needs_no_guard(how: str) -> None:
    """It has no file that a worker could import again."""
    ended = run("-c", UNGUARDED) if how == "-c" else run("-", text=UNGUARDED)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("stopped\n")


def test_a_main_module_that_fails_to_import_ends_with_a_clear_error(tmp_path: Path) -> None:
    script = tmp_path / "fleet.py"
    in_a_worker = "elif __name__ == '__mp_main__':\n    raise RuntimeError('no')\n"
    script.write_text(GUARDED.replace("SECONDS", "0") + in_a_worker)
    ended = run(str(script))
    assert ended.returncode == 1
    assert "5 worker processes in a row ended before they were up; the last one ended with exit code 1" in ended.stderr


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    script = tmp_path / "fleet.py"
    script.write_text(GUARDED.replace("SECONDS", "600"))
    program = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    assert program.stdout is not None
    pids = [int(pid) for pid in program.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_running, pids))
    return program, pids


def gone(pids: list[int]) -> None:
    asyncio.run(until(lambda: not any(map(is_running, pids)), f"all of {pids} gone"))


def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    program, pids = started(tmp_path)
    with program:
        program.kill()
    gone(pids)


def test_no_worker_outlives_a_killed_parent_whose_socket_lives_on_in_a_fork(tmp_path: Path) -> None:
    """A fork of the engine's process keeps a copy of every socket, so its death cannot be told by them."""
    script = tmp_path / "fleet.py"
    forking = BODY.replace("    print(*pids, flush=True)\n",
                           "    import os, time\n    if not os.fork():\n        time.sleep(600)\n"
                           "    print(*pids, flush=True)\n")
    script.write_text(HEAD + forking + "\nif __name__ == '__main__':\n    asyncio.run(main(600))\n")
    program = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True, start_new_session=True)
    assert program.stdout is not None
    pids = [int(pid) for pid in program.stdout.readline().split()]
    try:
        program.kill()
        gone(pids)
        assert len(pids) == 2
    finally:
        os.killpg(program.pid, signal.SIGKILL)
        program.stdout.close()
        program.wait()


def test_ctrl_c_reaches_all_and_only_the_parent_judges_it(tmp_path: Path) -> None:
    program, pids = started(tmp_path)
    with program:
        os.killpg(program.pid, signal.SIGINT)  # what a terminal does
        out, err = program.communicate(timeout=PATIENCE_S)
    assert out == "stopped\n"
    assert err.splitlines().count("KeyboardInterrupt") == 1  # the parent's own, none of a worker's
    gone(pids)


def test_ctrl_c_does_not_hit_a_worker_that_is_still_starting(tmp_path: Path) -> None:
    script = tmp_path / "fleet.py"
    interrupting = BODY.replace("    await crew.start(deliver)\n", "    await crew.start(deliver)\n"
                                "    import multiprocessing, os, signal\n"
                                "    for child in multiprocessing.active_children():\n"
                                "        os.kill(child.pid, signal.SIGINT)\n")
    script.write_text(HEAD + interrupting + "\nif __name__ == '__main__':\n    asyncio.run(main(0))\n")
    ended = run(str(script))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""  # neither a worker's KeyboardInterrupt nor a word about a lost worker
