"""The HTTP side: events in, forced syncs, the change feed out, and what people and programs ask of a running engine.

| file          | responsibility                                                                        |
|---------------|---------------------------------------------------------------------------------------|
| server        | `ApiServer`: the run file, start and stop                                             |
| listening     | the socket, which can be taken before there is an engine to serve                     |
| accepting     | how many connections are let in                                                       |
| connections   | how long they may say nothing, or take nothing                                        |
| gate          | what is refused before any route: peers, hosts, origins, tokens; the answers' headers |
| app           | the routes put together, errors as JSON, the schema                                   |
| routes_*      | events and syncs; the fleet; the change feed                                          |
| stream        | Server-Sent Events, read from the store at the reader's pace                          |
| shapes views  | what comes in; what goes out                                                          |
| metrics docs  | Prometheus' text; the page for people, made from the schema                           |
| failures      | every error as `{"error": {"code", "message", "hint"}}`                               |
"""

from fleetsync_adapters.http_api.server import ApiServer

__all__ = ["ApiServer"]
