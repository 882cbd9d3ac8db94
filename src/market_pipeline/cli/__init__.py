"""The command line `market-pipeline`: data on stdout, progress and errors on stderr, exit codes that mean something.

Exit codes: 0 ok, 1 failed, 2 usage, 3 a service does not answer, 4 key missing or refused, 5 call budget spent (says
when to resume), 6 finished but a blocking check failed, 7 the code server must start again, 130 interrupted. Commands
live in `setup`, `runs`, `reads` and `symbols`; heavy imports happen inside them.
"""

from __future__ import annotations

import sys

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from market_pipeline import __version__, logs
from market_pipeline.cli.output import problem
from market_pipeline.errors import (
    CheckFailed,
    ConfigurationError,
    IncompleteSlice,
    KeyMissing,
    MarketPipelineError,
    QuotaExhausted,
    Refused,
    StoreUnavailable,
    Unreachable,
)

OK, FAILED, USAGE, UNREACHABLE, KEY, QUOTA, CHECK, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130

app = App(
    name="market-pipeline",
    version=__version__,
    help="Market data from a provider's bytes to an audited gold table.",
    help_format="plaintext",
)
# The summaries stand here so that `--help` imports no command.
_COMMANDS = {
    "setup": {
        "init": "Prepare a profile: .env, folders, empty contracts, dbt's manifest.",
        "doctor": "Check what the pipeline needs, with the remedy for what is missing.",
        "demo": "The whole pipeline on the fictional market, to published gold.",
        "dev": "Serve Dagster and the dashboard on loopback until Ctrl-C.",
        "sandbox": "Serve every provider's API on a fictional market, or recorded payloads.",
    },
    "metrics": {"metrics": "Serve the pipeline's figures for Prometheus."},
    "runs": {
        "run": "Fetch, normalize and publish, for the newest slices.",
        "backfill": "Plan, then fetch what a range is missing.",
        "replay": "Make silver and gold again from bronze, without a call.",
    },
    "reads": {
        "status": "Freshness by data date, completeness, checks, quota, last run.",
        "query": "Run one SELECT on the published snapshot, read-only.",
        "export": "Write a gold table to a file.",
        "quota": "Calls used and left in each provider's window.",
        "quarantine": "Rejected rows with the rule they broke.",
        "generations": "Published generations on disk.",
        "rollback": "Point readers at an earlier generation.",
    },
}
for _module, _commands in _COMMANDS.items():
    for _name, _help in _commands.items():
        app.command(f"market_pipeline.cli.{_module}:{_name}", name=_name, help=_help)
config = App(name="config", help="What this profile's settings are.")
config.command("market_pipeline.cli.setup:config_show", name="show")
app.command(config)
_symbols = App(name="symbols", help="The user's own universe: which symbols are followed.")
for _name, _function in (("add", "add"), ("remove", "remove"), ("list", "list_symbols")):
    _symbols.command(f"market_pipeline.cli.symbols:{_function}", name=_name)
app.command(_symbols)
_stack = App(name="stack", help="What the containers' one-shot services run; on a machine: make up.")
for _name, _function in (("secrets", "secrets"), ("init", "init"), ("demo", "demo_data"), ("parse", "parse")):
    _stack.command(f"market_pipeline.cli.containers:{_function}", name=_name)
for _name, _module in (("backup", "backup"), ("restore", "restore"), ("manifest", "backup")):
    _stack.command(f"market_pipeline.cli.{_module}:{_name}", name=_name)
app.command(_stack)


def exit_code(error: BaseException) -> int:
    """The exit code that an error stands for; the most specific class wins."""
    codes: tuple[tuple[type[BaseException], int], ...] = (
        (KeyMissing, KEY),
        (Refused, KEY),
        (QuotaExhausted, QUOTA),
        (CheckFailed, CHECK),
        (IncompleteSlice, CHECK),
        (Unreachable, UNREACHABLE),
        (StoreUnavailable, UNREACHABLE),
        (ConfigurationError, USAGE),
        (KeyboardInterrupt, INTERRUPTED),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), FAILED)


def main() -> None:
    """Entry point: run a command and turn an error of ours into one sentence and its exit code."""
    logs.set_up()
    try:
        result = app(sys.argv[1:], exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        sys.exit(USAGE)
    except KeyboardInterrupt:
        problem("Interrupted; nothing that was committed is lost, the same command goes on from there")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(OK)
    except MarketPipelineError as error:
        problem(str(error))
        sys.exit(exit_code(error))
    except OSError as error:  # a folder that is not there, a full disk, a file of somebody else's
        where = "" if error.filename is None else f": {error.filename}"
        problem(f"{error.strerror or error}{where}; mend that, then run the same command again")
        sys.exit(FAILED)
    sys.exit(result if isinstance(result, int) else OK)
