"""What is shipped: the wheel's content, and locks that pin exactly what the project asks for."""

import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?P<rest>[^\n]*(\n    --hash=[^\n]*)*)")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}( \\)?\n?")


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(lock: str) -> dict[str, str]:
    """Package and version of each entry of a lock."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {canonicalize_name(match["name"]): match["version"] for match in PIN.finditer(text)}


def asked(*, dev: bool) -> list[Requirement]:
    """What pyproject asks for, the build backend included."""
    found = [*project()["project"]["dependencies"], *project()["build-system"]["requires"]]
    if dev:
        found += project()["project"]["optional-dependencies"]["dev"]
    return [Requirement(text) for text in found]


@pytest.mark.parametrize(("lock", "dev"), [("requirements.lock", False), ("requirements-dev.lock", True)])
def test_a_lock_pins_what_the_project_asks_for(lock: str, dev: bool) -> None:
    pinned = pins(lock)
    wrong = [str(wanted) for wanted in asked(dev=dev)
             if not wanted.specifier.contains(pinned.get(canonicalize_name(wanted.name), "0"))]  # fmt: skip
    assert wrong == [], f"{lock} does not fit pyproject.toml: make lock"


def test_the_tests_run_on_what_is_shipped() -> None:
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: dev.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_entry_of_a_lock_has_its_hashes_and_none_names_a_place(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = [match for match in PIN.finditer(text) if not match.string[: match.start()].endswith("#")]
    assert len(entries) > 30
    assert [match["name"] for match in entries if not HASH.search(match["rest"])] == []
    left = PIN.sub("", text).splitlines()
    assert [line for line in left if line and not line.startswith("#")] == []
    assert not re.search(r"://|--[a-gi-z]|@ ", text)


def test_the_wheel_holds_two_packages_and_all_their_files(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    tops = {name.partition("/")[0] for name in shipped}
    info = f"fleetsync-{project()['project']['version']}.dist-info"
    assert tops == {"fleetsync", "fleetsync_adapters", info}
    roots = (ROOT / "engine", ROOT / "adapters")
    suffixes = {".py", ".sql", ".toml", ".typed", ".html", ".css", ".js"}
    present = {str(path.relative_to(root)) for root in roots for path in root.rglob("*") if path.suffix in suffixes}
    assert present <= shipped
    assert {name for name in shipped if name.endswith("py.typed")} == {
        "fleetsync/py.typed", "fleetsync_adapters/py.typed"
    }  # fmt: skip
    assert f"{info}/licenses/LICENSE" in shipped


def test_the_changelog_has_this_version_on_top() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert first is not None
    assert first[1] == project()["project"]["version"]
