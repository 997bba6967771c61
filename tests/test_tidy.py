"""The house rules: layers, sizes, names, and that the linters agree. The rules themselves are in `tidy_rules.py`."""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
from tests import tidy_rules as rules

ROOT = Path(__file__).resolve().parent.parent
ENGINE, ADAPTERS = ROOT / "engine/fleetsync", ROOT / "adapters/fleetsync_adapters"
HERE = "tests/tidy_rules.py"


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project: what git tracks or would track; without git, what does not hide."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        found = (ROOT / name for name in listed.stdout.split("\0") if name)
    else:
        hidden = re.compile(r"(^|/)(\.[^/]+|__pycache__|build|dist)/")
        found = (path for path in ROOT.rglob("*") if not hidden.search(str(path.relative_to(ROOT))))
    return tuple(sorted(path for path in found if path.is_file()))


def python_files(*folders: Path) -> list[Path]:
    """The Python files below the folders, or all."""
    return [path for path in files() if path.suffix == ".py" and path.is_relative_to(ROOT)
            and (not folders or any(path.is_relative_to(folder) for folder in folders))]  # fmt: skip


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def where(path: Path, node: ast.AST | int = 0) -> str:
    line = node if isinstance(node, int) else getattr(node, "lineno", 0)
    return f"{path.relative_to(ROOT)}:{line}"


def module_of(path: Path, package: Path) -> str:
    """The module's name below its package: `paper.books`, `__init__` for the package itself."""
    parts = list(path.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports, inside functions too."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield node.lineno, base
            if base in {"fleetsync", "fleetsync_adapters"}:  # from fleetsync import heap
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def for_the_type_checker(path: Path) -> set[int]:
    """The lines that only a type checker reads."""
    return {line for node in ast.walk(tree_of(path)) if isinstance(node, ast.If)
            and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
            for line in range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1)}  # fmt: skip


def names(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every name that a file gives: functions, classes, parameters, variables, attributes."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node, node.name
        elif isinstance(node, ast.arg):
            yield node, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node, node.attr


def declared(path: Path) -> Iterator[tuple[ast.AST, str, str]]:
    """Parameters, fields and attributes, each with its annotation as text."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.arg):
            yield node, node.arg, ast.unparse(node.annotation) if node.annotation else ""
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name | ast.Attribute):
            name = node.target.id if isinstance(node.target, ast.Name) else node.target.attr
            yield node, name, ast.unparse(node.annotation)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node, node.attr, ""


def fails(found: list[str], rule: str) -> None:
    if found:
        pytest.fail("\n  ".join((f"{rule}:", *found)), pytrace=False)


def adapter_of(module: str) -> str | None:
    """The adapter a module is part of."""
    for adapter, patterns in rules.ADAPTERS.items():
        if any(fnmatch(module, pattern) for pattern in patterns):
            return adapter
    return None


ORDER = [module for layer in rules.ENGINE.values() for module in layer]
SOURCES = python_files(ENGINE, ADAPTERS)


def test_every_module_of_the_engine_has_its_layer() -> None:
    found = {module_of(path, ENGINE) for path in python_files(ENGINE)}
    fails(sorted(found - set(ORDER)), f"not in a layer: add it to ENGINE in {HERE}, below all that import it")


def test_a_module_of_the_engine_imports_only_what_stands_below_it() -> None:
    found = []
    for path in python_files(ENGINE):
        module = module_of(path, ENGINE)
        below = set(ORDER[: ORDER.index(module)]) if module in ORDER else set()
        unread = for_the_type_checker(path)
        for line, name in imports(path):
            top, _, rest = name.partition(".")
            inner = rest.partition(".")[0]
            if top == "fleetsync_adapters" or top in {"adapters", "engine", ""}:
                found.append(f"{where(path, line)} imports {name}")
            elif line in unread and inner == rules.OWNER.get(module):
                continue
            elif top == "fleetsync" and rest and inner in ORDER and inner not in below:
                found.append(f"{where(path, line)} imports {name}, which stands above it")
            elif top == "fleetsync" and not rest and not (ENGINE / "__init__.py").samefile(path):
                found.append(f"{where(path, line)} imports the face of the engine, from inside")
    fails(found, f"an import against the layers (ENGINE in {HERE})")


def test_what_decides_neither_waits_nor_looks_at_the_world() -> None:
    found = []
    pure = {module for layer in rules.PURE for module in rules.ENGINE[layer]}
    for path in python_files(ENGINE):
        if module_of(path, ENGINE) not in pure:
            continue
        found += [f"{where(path, line)} imports {name}" for line, name in imports(path)
                  if name.partition(".")[0] in rules.WORLD]  # fmt: skip
        found += [f"{where(path, node)} waits" for node in ast.walk(tree_of(path))
                  if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.AsyncFunctionDef)]  # fmt: skip
    fails(found, "words, decisions and the core take the world as arguments")


def test_only_the_shell_reads_a_clock() -> None:
    found = [f"{where(path, line)} imports time" for path in python_files(ENGINE) for line, name in imports(path)
             if name == "time" and module_of(path, ENGINE) not in rules.MAY_IMPORT_TIME]  # fmt: skip
    fails(found, "take a Clock, or the instant itself")


def test_every_module_of_the_adapters_is_part_of_one() -> None:
    modules = {module_of(path, ADAPTERS) for path in python_files(ADAPTERS)}
    fails(sorted(m for m in modules if adapter_of(m) is None), f"part of no adapter: add it to ADAPTERS in {HERE}")


def test_an_adapter_knows_the_engines_words_and_ports_and_itself() -> None:
    found = []
    for path in python_files(ADAPTERS):
        own = adapter_of(module_of(path, ADAPTERS))
        if own == "composition":
            continue
        for line, name in imports(path):
            top, _, inner = name.partition(".")
            if top == "fleetsync" and inner and inner.partition(".")[0] not in rules.ADAPTERS_KNOW:
                found.append(f"{where(path, line)} imports {name}")
            other = adapter_of(inner) if top == "fleetsync_adapters" and inner else own
            if other is not None and other != own:
                found.append(f"{where(path, line)} imports {name}, of the adapter {other!r}")
    fails(found, f"an adapter that knows too much (ADAPTERS in {HERE})")


def test_modules_go_by_one_name() -> None:
    """No relative import, no import through the source roots, no module loaded twice."""
    found = [f"{where(path, line)} imports {name}" for path in python_files() for line, name in imports(path)
             if name.startswith((".", "engine.", "adapters.")) or name in {"engine", "adapters"}]  # fmt: skip
    fails(found, "import the package, not its folder")
    modules = [f"fleetsync.{module_of(path, ENGINE)}" for path in python_files(ENGINE)]
    modules += [f"fleetsync_adapters.{module_of(path, ADAPTERS)}" for path in python_files(ADAPTERS)]
    wanted = sorted(name.removesuffix(".__init__") for name in modules if not name.endswith("__main__"))
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "loaded = [module for name, module in sys.modules.items() if name != '__main__']\n"
        "files = [module.__file__ for module in loaded if getattr(module, '__file__', None)]\n"
        f"ours = [file for file in files if file.startswith(({str(ENGINE)!r}, {str(ADAPTERS)!r}))]\n"
        "assert ours and len(ours) == len(set(ours)), [file for file in ours if ours.count(file) > 1]\n"
    )
    run_python("-c", script, *wanted)


def test_a_worker_starts_without_the_heavy_libraries() -> None:
    script = f"import sys, fleetsync.worker\nassert not sys.modules.keys() & {set(rules.ENGINE_START_WITHOUT)!r}"
    run_python("-c", script)


def test_files_and_functions_stay_small() -> None:
    found = []
    for path in python_files():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > rules.LONGEST_FILE:
            found.append(f"{where(path)} has {lines} lines: is there a second thing inside?")
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > rules.LONGEST_FUNCTION:
                    found.append(f"{where(path, node)} {node.name} has {lines} lines")
    fails(found, f"at most {rules.LONGEST_FILE} lines a file and {rules.LONGEST_FUNCTION} a function")


def test_spans_and_instants_carry_their_unit() -> None:
    found = []
    for path in SOURCES:
        for node, name, noted in declared(path):
            if name.lower().rpartition("_")[2] in rules.WITHOUT_UNIT:
                found.append(f"{where(path, node)} {name} hides its unit")
            if name.endswith("_ms") and "float" in noted:
                found.append(f"{where(path, node)} {name} is a float")
    fails(found, "a span is an int named `_ms`, an instant an int named `_at_ms`")


def test_one_word_has_one_meaning() -> None:
    words = re.compile(r"[a-z]+|[A-Z][a-z]*")
    found = [f"{where(path, node)} {name}" for path in SOURCES for node, name in names(path)
             if {word.lower().removesuffix("s") for word in words.findall(name)} & set(rules.NOT_A_NAME)]  # fmt: skip
    fails(found, "say crew or quota")


def test_only_the_command_line_prints() -> None:
    found = []
    for path in SOURCES:
        if path.is_relative_to(ADAPTERS) and any(fnmatch(module_of(path, ADAPTERS), may) for may in rules.MAY_PRINT):
            continue
        calls = (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))
        found += [where(path, call) for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    fails(found, "log, or return it")


def test_every_exception_from_a_check_says_why() -> None:
    """`# noqa: CODE reason`, `# type: ignore[code]  # reason`, on its own or at the end of a line."""
    excused = re.compile(r"#\s*(noqa(:\s*[A-Z0-9, ]+)?|type:\s*ignore(\[[a-z, -]*\])?)(?P<why>.*)")
    found = []
    for path in python_files():
        with path.open("rb") as source:
            for token in tokenize.tokenize(source.readline):
                match = excused.search(token.string) if token.type == tokenize.COMMENT else None
                if match and not re.search(r"[A-Za-z]{3,}", match["why"]):
                    found.append(f"{where(path, token.start[0])} {token.string}")
    fails(found, "say in the same line why")


@pytest.mark.parametrize(
    ("pattern", "what"),
    [*rules.FORBIDDEN.items(), (re.escape(str(ROOT)), "the place of this checkout")],
    ids=["machine", "registry", "unfinished", "checkout"],
)
def test_no_file_holds_what_is_only_here(pattern: str, what: str) -> None:
    forbidden = re.compile(pattern)
    found = []
    for path in files():
        data = path.read_bytes()
        if b"\0" in data[:8_192]:
            continue
        for number, line in enumerate(data.decode("utf-8").splitlines(), start=1):
            if forbidden.search(line):
                found.append(f"{where(path, number)} {line.strip()[:100]}")
    fails(found, what)


def test_ruff_finds_nothing() -> None:
    run_python("-m", "ruff", "check", "--output-format=concise", ".")


def test_mypy_finds_nothing() -> None:
    run_python("-m", "mypy", *sorted({path.relative_to(ROOT).parts[0] for path in python_files()}))


def run_python(*arguments: str) -> None:
    """Run this interpreter in the project; what it says is the failure's text."""
    ended = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.fail(ended.stdout[-20_000:] + ended.stderr[-5_000:], pytrace=False)
