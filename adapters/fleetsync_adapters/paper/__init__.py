"""The paper exchange: a simulated Binance USD-M futures exchange with its own books, limits, faults and ledger.

| layer    | files                                  | responsibility                                                |
|----------|----------------------------------------|---------------------------------------------------------------|
| draws    | seeded keys refusals                   | randomness without state; account keys; the exchange's "no"   |
| markets  | prices markets                         | a price at any instant, and when it next crosses a level      |
| books    | books matching orders views holdings   | what is held, what happens to it, what may be ordered         |
| rules    | limits faults ledger                   | weights and bans; misbehaviour; every request that came in    |
| venue    | venue                                  | all of the above, with one entrance for requests              |
| faces    | direct lending                         | the engine's Exchange port, without sockets, in any time      |
|          | rows asked endpoints trading desk face | Binance's REST, over HTTP                                     |
|          | admin server process                   | an operator's endpoints; a process of its own; its helper     |

Everything down to `direct` and `desk` is free of sockets and clocks: instants come in as `at_ms`.
"""
