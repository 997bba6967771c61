"""fleetsync keeps a fleet of trading robots in sync with their exchanges under one budget of exchange calls.

    event ┐
          ├─> heap ──> planner ──> budget ──> crew ──> exchange ──> snapshot ──> reconcile ──> store ──> changes
    time  ┘    ^                                                                    │
               └───────────────────────────── cadence: next run ───────────────────┘

| layer     | file                          | responsibility                                                          |
|-----------|-------------------------------|-------------------------------------------------------------------------|
| words     | units errors model            | milliseconds; the error tree; robots, accounts, positions, changes      |
|           | messages tariff config        | what moves; what exchanges limit and charge; every setting              |
| decisions | heap cadence law              | who wants to run when; stretchable time; the adaptive scale             |
|           | ledger budget health          | quotas, grants, deferrals, freezes; backoff and circuits                |
|           | planner meter                 | the cheapest calls that serve what is due; requests, counted exactly    |
|           | book evidence unchanged       | what is known; what proves something; the reading without news          |
|           | reconcile(_orders)            | (known, snapshot) -> (known, changes, questions)                        |
| seams     | ports                         | Clock, Exchange, Store, Crew                                            |
| core      | account fleet                 | the state: accounts and their routes; robots                            |
|           | tolls rates adaptive timing   | what calls draw on; how often robots change; intervals                  |
|           | sync crewing journal events   | a dispatch on its way; who serves whom; what was found; hints           |
|           | drafts grants                 | what a sync would ask; spending the budget                              |
|           | settle reading trouble        | taking answers in; what goes wrong                                      |
|           | membership                    | accounts come, go and are reached otherwise                             |
|           | core                          | sole owner of all that: receive, tick, commands; no await, no clock     |
| shell     | clock collector               | time; keeps garbage collection away from what stays                     |
|           | wire link worker              | frames between processes; the child that makes the calls                |
|           | process crew                  | the parent's side of the children                                       |
|           | report explain                | what people and programs are shown                                      |
|           | assembly writer loop runtime  | putting it together; one commit at a time; the loop; beginning and end  |
|           | engine                        | the face                                                                |

A file imports only from the lines above it. Start reading at `loop.Loop.run`, then `core.Core`.
"""

from fleetsync.config import Settings
from fleetsync.engine import Engine
from fleetsync.errors import FleetsyncError
from fleetsync.model import Account, Change, Robot, Secret
from fleetsync.ports import ExchangeSpec
from fleetsync.report import RobotState, Status

__all__ = ["Account", "Change", "Engine", "ExchangeSpec", "FleetsyncError", "Robot", "RobotState", "Secret", "Settings",
           "Status"]
