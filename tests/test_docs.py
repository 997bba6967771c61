"""What the README shows is run: its program, its fleet file, its commands."""

import re
import subprocess
import sys
from pathlib import Path

from fleetsync_adapters.fleet_file import load_fleet

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _block(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)[:1]
    assert isinstance(code, str)
    return code


def test_the_embedded_example_runs_as_it_stands(tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text(_block("python"), encoding="utf-8")
    paths = ":".join(str(ROOT / folder) for folder in ("engine", "adapters"))
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False,
                          cwd=tmp_path, env={"PYTHONPATH": paths, "PATH": "", "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("HOLDING")
    assert first.endswith("agreed")
    assert "position_closed event" in rest[-1]


def test_the_fleet_file_of_the_readme_is_one(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(_block("toml"), encoding="utf-8")
    fleet = load_fleet(path, environ={"MAIN_KEY": "k", "MAIN_SECRET": "s"})
    assert [(robot.id, robot.symbol) for robot in fleet.robots] == [("r1", "BTC/USDT:USDT")]


def test_every_command_that_the_readme_names_has_a_help_text() -> None:
    table = README.split("| command | |")[1].split("\n\n")[0]
    commands = {words.split()[0] for words in re.findall(r"`(?:fleetsync )?([a-z][a-z -]*[a-z])", table)}
    for command in sorted(commands):
        done = subprocess.run([sys.executable, "-m", "fleetsync_adapters", command, "--help"], capture_output=True,
                              text=True, timeout=60, check=False, cwd=ROOT / "adapters",
                              env={"PYTHONPATH": str(ROOT / "engine"), "PATH": ""})
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert "Usage" in done.stdout
