"""The commands and their options. What a command does stands in a module of its own, imported when it is called."""

# ruff: noqa: PLC0415  commands import what they need: `fleetsync --help` should not wait for the exchange library

from typing import Any

import click

from fleetsync_adapters.cli.finite import Finite

DEFAULT_DB = "fleetsync.duckdb"
_EPILOG = "Exit codes: 0 well ended, 1 failed, 2 wrong input, 130 interrupted twice."


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fleetsync", message="fleetsync %(version)s")
@click.option("--debug", is_flag=True, help="Log everything, and show the traceback of an error.")
def fleetsync(*, debug: bool) -> None:
    """Keep a fleet of trading robots in sync with their exchanges, within one budget of exchange calls.

    It only reads: it never places, changes or cancels an order.

    \b
    Try it:
      fleetsync run                 a demo: 100 robots on a paper exchange, for a minute
      fleetsync run fleet.toml      your own fleet, until Ctrl-C
    """  # noqa: D301  click reads the escape: this paragraph keeps its lines
    from fleetsync_adapters.cli.logs import configure

    configure(debug=debug)


@fleetsync.command()
@click.argument("fleet", required=False, type=click.Path())
@click.option("--for", "span_s", type=Finite(min=0, min_open=True), metavar="SECONDS",
              help="End after so many seconds.  [default: until Ctrl-C; the demo: 60]")
@click.option("--json", "as_json", is_flag=True, help="Last line on standard output: the summary as one JSON object.")
@click.option("--db", type=click.Path(), metavar="PATH",
              help="The DuckDB file.  [default: the fleet file's, else fleetsync.duckdb; the demo: a fresh file]")
@click.option("--workers", type=click.IntRange(0, 1024), metavar="N", help="Worker processes; 0 calls from this one.")
@click.option("--budget", type=click.IntRange(min=1), metavar="CALLS_PER_MINUTE",
              help="Exchange calls of the whole engine in any 60 seconds.")
@click.option("--http", metavar="HOST:PORT", help="Serve the HTTP interface there, with its page for people at /.")
@click.option("--http-token-env", metavar="NAME",
              help="The environment variable with the token that --http asks for; needed off loopback.")
@click.option("--plain", is_flag=True, help="Lines instead of the live view, also on a terminal.")
@click.option("--robots", type=click.IntRange(1, 100_000), help="Demo: how many robots.  [default: 100]")
@click.option("--accounts", type=click.IntRange(1, 10_000), help="Demo: on how many accounts.  [default: 10]")
@click.option("--seed", type=click.IntRange(min=0), help="Demo: what is drawn.  [default: 1]")
def run(fleet: str | None, *, span_s: float | None, as_json: bool, db: str | None, workers: int | None,
        budget: int | None, http: str | None, http_token_env: str | None, plain: bool, **demo: int | None) -> None:
    """Keep the robots of FLEET in sync; without FLEET, run the demo.

    FLEET is a TOML file: budget, cadence, exchanges, accounts (their keys come from environment variables) and robots.
    The demo starts a paper exchange on this machine, lets 100 robots trade on it for a minute, and compares what the
    engine knows with the exchange's own books. Ctrl-C ends either of them in order, a second one at once.

    \b
    Examples:
      fleetsync run
      fleetsync run --for 20 --json --budget 600
      fleetsync run fleet.toml --db /var/lib/fleetsync/state.duckdb
    """  # noqa: D301  as above
    from fleetsync_adapters.cli.assembly import from_fleet_file
    from fleetsync_adapters.cli.http_side import http_side

    chosen = {name: value for name, value in demo.items() if value is not None}
    if fleet is not None and chosen:
        raise click.UsageError(f"--{next(iter(chosen))} is for the demo; a fleet file says it itself")
    given = {"workers": workers, "calls_per_minute": budget}
    settings = {name: value for name, value in given.items() if value is not None}
    public = http_side(http, http_token_env)
    assembly = None if fleet is None else from_fleet_file(fleet, db=db, overrides=settings)

    # The rest takes a second to import: what is wrong with the input has been told by now.
    from fleetsync_adapters.cli.run import RunOrder
    from fleetsync_adapters.cli.running import carry_out
    from fleetsync_adapters.demo import DemoSize

    order = RunOrder(assembly, span_s, db, settings, DemoSize(**chosen), public)
    carry_out(order, as_json=as_json, plain=plain)


_DB = click.option("--db", "db_path", type=click.Path(), default=DEFAULT_DB, envvar="FLEETSYNC_DB", show_envvar=True,
                   show_default=True, metavar="PATH", help="The DuckDB file of the run.")


@fleetsync.command()
@_DB
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(*, db_path: str, as_json: bool) -> None:
    """Show how a run is doing, or what it has left.

    While an engine has the file open, it is asked; else the file is read.

    \b
    Examples:
      fleetsync status
      fleetsync status --db demo.duckdb --json
    """  # noqa: D301  as above
    from fleetsync_adapters.cli.reading import show_status

    show_status(db_path, as_json=as_json)


@fleetsync.command()
@_DB
@click.option("--after", type=click.IntRange(min=0), metavar="N",
              help="Changes with a number above N.  [default: the last ones]")
@click.option("--robot", metavar="ID", help="Only those that concern this robot.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many.")
@click.option("--follow", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def changes(*, db_path: str, after: int | None, robot: str | None, limit: int, follow: bool, as_json: bool) -> None:
    """Show committed changes: what was proven to differ, when, and on what evidence.

    Changes are numbered without gaps: a program that remembers the last number it has seen misses none.

    \b
    Examples:
      fleetsync changes --limit 10
      fleetsync changes --after 1200 --json
      fleetsync changes --robot r1 --follow
    """  # noqa: D301  as above
    from fleetsync_adapters.cli.reading import show_changes

    show_changes(db_path, after=after, limit=limit, robot=robot, follow=follow, as_json=as_json)


@fleetsync.command()
@click.argument("robot")
@_DB
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def explain(*, robot: str, db_path: str, as_json: bool) -> None:
    """Say why ROBOT is looked at when it is: its phase, its interval and why, its next run, what its last one cost.

    Only a running engine knows; it is asked.

    \b
    Examples:
      fleetsync explain r1
      fleetsync explain r1 --db demo.duckdb --json
    """  # noqa: D301  as above
    from fleetsync_adapters.cli.explaining import show_explanation

    show_explanation(robot, db_path, as_json=as_json)


@fleetsync.command()
@click.argument("sql")
@_DB
@click.option("--format", "form", type=click.Choice(("table", "csv", "json")), default="table", show_default=True)
@click.option("--max-rows", type=click.IntRange(1, 10_000_000), default=1_000, show_default=True,
              help="Answer at most so many rows.")
@click.option("--timeout", "timeout_s", type=Finite(min=0, min_open=True), default=10, show_default=True,
              metavar="SECONDS", help="Stop the statement after this.")
def query(*, sql: str, db_path: str, form: str, max_rows: int, timeout_s: float) -> None:
    """Run one read-only SQL statement on what is committed; - reads it from the standard input.

    It runs in a process of its own, with limits, on a fresh copy while an engine has the file open. For people there
    are the views v_robots, v_positions, v_orders and v_changes.

    \b
    Examples:
      fleetsync query "SELECT phase, count(*) FROM v_robots GROUP BY phase"
      fleetsync query "SELECT * FROM v_changes ORDER BY number DESC" --max-rows 20 --format csv
    """  # noqa: D301  as above
    from fleetsync_adapters.cli.querying import show_query

    show_query(db_path, sql, form=form, max_rows=max_rows, timeout_s=timeout_s)


@fleetsync.command("paper-exchange")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65_535), default=18_080, show_default=True, help="0 takes a free one.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True,
              help="Draws markets, prices and the accounts' keys.")
@click.option("--accounts", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Open so many.")
@click.option("--markets", type=click.IntRange(1, 5_000), default=600, show_default=True, help="List so many.")
@click.option("--weight-per-minute", type=click.IntRange(min=1), default=2400, show_default=True,
              help="Request weight that an address may use in a minute.")
@click.option("--unlimited", is_flag=True, help="Refuse nobody.")
def paper_exchange(**options: Any) -> None:
    """Run a simulated exchange that speaks Binance's USD-M futures REST, until Ctrl-C.

    It has books, prices, matching, limits and faults of its own, and a ledger of every request, readable below
    /paper/. Its keys open nothing but this simulation.

    \b
    Examples:
      fleetsync paper-exchange
      fleetsync paper-exchange --port 18090 --accounts 1000 --weight-per-minute 1200
    """  # noqa: D301  as above
    from fleetsync_adapters.cli.paper import serve_paper

    serve_paper(**options)
