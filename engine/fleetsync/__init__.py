"""fleetsync keeps a fleet of trading robots in sync with their exchanges under one budget of exchange calls.

    event ┐
          ├─> heap ──> planner ──> budget ──> crew ──> exchange ──> snapshot ──> reconcile ──> store ──> changes
    time  ┘    ^                                                                    │
               └───────────────────────────── cadence: next run ───────────────────┘

| layer     | file                          | responsibility                                                          |
|-----------|-------------------------------|-------------------------------------------------------------------------|
| words     | units errors model            | milliseconds; the error tree; robots, accounts, books, changes          |
|           | messages tariff config        | what moves; what exchanges limit and charge; every setting              |
| decisions | heap cadence                  | who wants to run when                                                   |
|           | budget health                 | who may: quotas, grants, deferrals, freezes; backoff and circuits       |
|           | planner                       | the cheapest calls that serve an account's due robots                   |
|           | reconcile                     | (known, snapshot) -> (known, changes, questions)                        |
|           | core                          | sole owner of the state: receive, tick, commands; no await, no clock    |
| seams     | ports                         | Clock, Exchange, Store, Crew                                            |
| shell     | clock wire worker crew engine | the only files that wait, spawn or read a clock                         |

A file imports only from the lines above it. Start reading at `engine.Engine.run`, then `core.Core`.
"""

from fleetsync.config import Settings
from fleetsync.engine import Engine
from fleetsync.errors import FleetsyncError
from fleetsync.model import Account, Change, Robot, Secret
from fleetsync.ports import ExchangeSpec
from fleetsync.report import RobotState, Status

__all__ = ["Account", "Change", "Engine", "ExchangeSpec", "FleetsyncError", "Robot", "RobotState", "Secret", "Settings",
           "Status"]
