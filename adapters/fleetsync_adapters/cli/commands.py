"""The commands and their options. What a command does stands in a module of its own, imported when it is called."""

# ruff: noqa: PLC0415  commands import what they need: `fleetsync --help` should not wait for the exchange library

import click

_EPILOG = "Exit codes: 0 well ended, 1 failed, 2 wrong input, 130 interrupted twice."


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fleetsync", message="fleetsync %(version)s")
@click.option("--debug", is_flag=True, help="Log everything, and show the traceback of an error.")
def fleetsync(*, debug: bool) -> None:
    r"""Keep a fleet of trading robots in sync with their exchanges, within one budget of exchange calls.

    It only reads: it never places, changes or cancels an order.

    \b
    Try it:
      fleetsync run                 a demo: 100 robots on a paper exchange, for a minute
      fleetsync run fleet.toml      your own fleet, until Ctrl-C
    """
    from fleetsync_adapters.cli.logs import configure

    configure(debug=debug)


@fleetsync.command()
@click.argument("fleet", required=False, type=click.Path())
@click.option("--for", "span_s", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
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
    r"""Keep the robots of FLEET in sync; without FLEET, run the demo.

    FLEET is a TOML file: budget, cadence, exchanges, accounts (their keys come from environment variables) and robots.
    The demo starts a paper exchange on this machine, lets 100 robots trade on it for a minute, and compares what the
    engine knows with the exchange's own books. Ctrl-C ends either of them in order, a second one at once.

    \b
    Examples:
      fleetsync run
      fleetsync run --for 20 --json --budget 600
      fleetsync run fleet.toml --db /var/lib/fleetsync/state.duckdb
    """
    from fleetsync_adapters.cli.run import RunOrder
    from fleetsync_adapters.cli.running import carry_out
    from fleetsync_adapters.demo import DemoSize

    chosen = {name: value for name, value in demo.items() if value is not None}
    if fleet is not None and chosen:
        raise click.UsageError(f"--{next(iter(chosen))} is for the demo; a fleet file says it itself")
    settings = {"workers": workers, "calls_per_minute": budget}
    order = RunOrder(fleet, span_s, db, {name: value for name, value in settings.items() if value is not None},
                     DemoSize(**chosen), http, http_token_env)
    carry_out(order, as_json=as_json, plain=plain)
