"""The house rules as data: change them here, with a reason; `test_tidy.py` holds the tree to them."""

LONGEST_FILE = 330  # lines; aim at 300
LONGEST_FUNCTION = 70  # lines; aim at 40

# The engine from the bottom up: a module imports only modules that stand before it.
ENGINE = {
    "words": ("units", "errors", "model", "messages", "tariff", "config"),
    "decisions": ("heap", "ledger", "budget", "cadence", "law", "health", "meter", "planner", "book", "evidence",
                  "reconcile_orders", "unchanged", "reconcile"),
    "seams": ("ports",),
    "core": ("account", "fleet", "tolls", "rates", "adaptive", "timing", "sync", "crewing", "journal", "events",
             "drafts", "grants", "trouble", "reading", "settle", "membership", "core"),
    "shell": ("clock", "collector", "wire", "link", "worker", "process", "crew", "report", "explain", "assembly",
              "writer", "loop", "runtime", "engine"),
    "face": ("__init__",),
}  # fmt: skip
# Parts of the core are handed the core itself and share its state; they name its class for the type checker only.
OWNER = {"drafts": "core", "grants": "core", "settle": "core", "trouble": "core", "reading": "core",
         "membership": "core"}
PURE = ("words", "decisions", "core")  # no await, no clock, no file, no process: time and randomness are arguments
WORLD = frozenset({"asyncio", "time", "datetime", "os", "pathlib", "socket", "subprocess", "threading",
                   "multiprocessing", "signal", "selectors", "tempfile", "uuid", "secrets"})  # fmt: skip
MAY_IMPORT_TIME = frozenset({"clock", "worker", "crew", "process", "runtime"})
ENGINE_START_WITHOUT = frozenset({"ccxt", "duckdb", "fastapi", "pydantic", "rich", "uvicorn", "aiohttp",
                                  "fleetsync_adapters"})  # a worker starts by importing the engine  # fmt: skip

# What the adapters may know of the engine, and which modules are one adapter: patterns of module names below
# `fleetsync_adapters`. An adapter imports itself only; what is composed of several stands under "composition".
ADAPTERS_KNOW = frozenset({"units", "errors", "model", "messages", "tariff", "config", "ports"})
ADAPTERS = {
    "exchange": ("ccxt_*", "tariffs"),
    "paper exchange": ("paper", "paper.*"),
    "store": ("duckdb_store", "duckdb_store.*", "memory_store", "store_rows", "query", "query_*"),
    "fleet file": ("fleet_*", "synthetic"),
    "composition": ("__init__", "__main__", "budget_bench", "budget_bench.*", "control", "cli", "cli.*", "demo",
                    "demo_*", "http_api", "http_api.*", "http_*", "live_view", "live_*", "simulate", "simulate_*",
                    "simulation", "simulation.*", "measure_*"),
}  # fmt: skip
MAY_PRINT = ("cli", "cli.*")

WITHOUT_UNIT = ("timeout", "interval", "delay")  # as a name, or as its end, they hide the unit: `_ms`
NOT_A_NAME = ("pool",)  # crew or quota: it would mean two things

# What must not stand in any file: the place where it was written, the registry it was installed from, unfinished work.
FORBIDDEN = {
    r"/(home|Users|root)/[A-Za-z0-9._-]+": "a path of one machine",
    r"(?i)--(extra-)?[i]ndex-url|--[f]ind-links|py[p]i\.org/simple|python[h]osted": "where one machine installs from",
    r"\b(T[O]DO|F[I]XME|X[X]X)\b": "unfinished work: finish it, or say what is open in words",
}
