"""`python -m market_pipeline.sandbox`: the sandbox alone, without the rest of the command line."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path

from market_pipeline import logs
from market_pipeline.sandbox.app import SandboxConfig, serve
from market_pipeline.sandbox.market import DEFAULT_ROSTER_SIZE, DEFAULT_SEED


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m market_pipeline.sandbox", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--universe", type=Path, help="folder with demo_instruments.csv and demo_symbols.csv")
    source.add_argument("--recorded", type=Path, help="folder of captured bodies, served as they are")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--clock", type=_instant, help="ISO instant with a zone; without it the machine's clock")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument(
        "--plan",
        action="append",
        default=[],
        type=_plan,
        help="PROVIDER=PLAN, repeatable, or Alpha Vantage's plan alone; without limits by default, Alpha Vantage free",
    )
    parser.add_argument("--roster-size", type=int, default=DEFAULT_ROSTER_SIZE, help="tickers beside the universe's")
    parser.add_argument("--echoes-key", action="store_true", help="the daily refusal repeats the caller's key")
    given = parser.parse_args(arguments)
    logs.set_up()
    try:
        config = SandboxConfig(
            universe=given.universe,
            recorded=given.recorded,
            clock=given.clock,
            seed=given.seed,
            plans=dict(given.plan),
            roster_size=given.roster_size,
            echoes_key=given.echoes_key,
        )
        serve(config, port=given.port, host=given.host, log_level="info")
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))


def _plan(text: str) -> tuple[str, str]:
    """A provider and its plan; a plan alone is Alpha Vantage's."""
    provider, is_named, plan = text.rpartition("=")
    return (provider if is_named else "alpha_vantage"), plan


def _instant(text: str) -> dt.datetime:
    instant = dt.datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise argparse.ArgumentTypeError("write the instant with its zone, as 2026-11-20T22:00:00Z")
    return instant.astimezone(dt.UTC)


if __name__ == "__main__":
    main()
