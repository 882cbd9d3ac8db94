"""Commands that prepare and serve: init, doctor, config show, sandbox, demo, dev."""

from __future__ import annotations

import os
import re
import stat
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from market_pipeline.cli.output import data, say, table
from market_pipeline.errors import ConfigurationError, unknown
from market_pipeline.settings import PREFIX, REPOSITORY, Settings, load_settings

ENV_FILE = REPOSITORY / ".env"


def init(
    *,
    demo: bool = False,
    with_: Annotated[tuple[str, ...], Parameter(name="--with")] = (),
) -> None:
    """Write `.env` (mode 600), the profile's folders and the empty files that gold needs, and parse the dbt project.

    Parameters
    ----------
    demo
        Prepare the fictional market's profile; an existing `.env` is left alone.
    with_
        Providers to use, comma separated: adds the lines their keys go into.
    """
    from market_pipeline import providers  # noqa: PLC0415
    from market_pipeline.cli.prepare import prepare  # noqa: PLC0415

    if demo:
        os.environ[f"{PREFIX}PROFILE"] = "demo"
        if not ENV_FILE.exists():
            _write_env(f"{PREFIX}PROFILE=demo\n")
            say("Wrote .env: profile demo, the fictional market")
    known = providers.load()
    for name in [part for item in with_ for part in item.split(",")]:
        if name not in known:
            raise unknown("provider", name, known)
        provider = known[name]
        plan, pace = provider.default_plan, provider.plans[provider.default_plan]
        text = ENV_FILE.read_text(encoding="utf-8") if ENV_FILE.exists() else f"{PREFIX}PROFILE=live\n"
        is_database = provider.auth.place == "url"
        lines = [f"{provider.auth.setting}=", *(f"{f.query_setting}=" for f in provider.feeds if f.query_setting)]
        for line in lines if is_database else (*lines, f"{provider.plan_setting}={plan}"):
            if not re.search(rf"^\s*(export\s+)?{line.partition('=')[0]}\s*=", text, re.MULTILINE):
                text = f"{text.rstrip()}\n{line}\n"
        _write_env(text)
        if is_database:
            say(f"{provider.title}: put its address and the queries into .env: {' '.join(lines)}")
            continue
        say(
            f"{provider.title} unlocks {', '.join(feed.dataset for feed in provider.feeds)}. Plan {plan}: "
            f"{pace.calls_per_day or 'no cap on'} calls a day. Get a key at {provider.auth.obtain} and put it "
            f"behind {provider.auth.setting}= in .env"
        )
    if ENV_FILE.is_file() and stat.S_IMODE(ENV_FILE.stat().st_mode) & 0o077:
        ENV_FILE.chmod(0o600)  # a copy of .env.example is readable by everyone
    settings = load_settings()
    if with_ and settings.profile == "demo":
        say(f"Profile demo ignores keys; for real data write {PREFIX}PROFILE=live in .env")
    prepare(settings)
    say(f"Profile {settings.profile} is ready in {_short(settings.root)}")


def _write_env(text: str) -> None:
    """Replace `.env`; it is never readable by others, not even for a moment."""
    temporary = ENV_FILE.with_name(".env.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(ENV_FILE)


def _short(path: Path) -> str:
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


def doctor(*, json: bool = False, keys: bool = False) -> int:
    """Check what the pipeline needs: each probe with what was found, what is required, and the remedy.

    Parameters
    ----------
    json
        JSON on stdout.
    keys
        Also say which providers have a key (no call is made).
    """
    from market_pipeline.cli.doctor import probes  # noqa: PLC0415

    found = probes(load_settings(), with_keys=keys)
    if json:
        data([asdict(probe) for probe in found])
    else:
        table(
            ("probe", "ok", "found", "required", "remedy"),
            [(p.name, "yes" if p.ok else "NO", p.found, p.required, "" if p.ok else p.remedy) for p in found],
        )
    return 0 if all(probe.ok for probe in found) else 1


def config_show(*, json: bool = False) -> None:
    """Every setting in force; keys are shown as set or not set, never themselves.

    Parameters
    ----------
    json
        JSON on stdout.
    """
    settings = load_settings()
    found = _described(settings)
    if json:
        data(found)
    else:
        table(("setting", "value"), found.items())


def _place(settings: Settings) -> str:
    """Address of the S3 store; one that is refused may hold a password and is not shown."""
    try:
        return settings.s3.endpoint if settings.s3 else "not used"
    except ConfigurationError as error:
        return f"refused: {error}"


def _described(settings: Settings) -> dict[str, object]:
    from market_pipeline import providers  # noqa: PLC0415

    found: dict[str, object] = {
        f"{PREFIX}PROFILE": settings.profile,
        f"{PREFIX}HOME": _short(settings.home),
        f"{PREFIX}CLOCK": settings.clock or "the machine's",
        f"{PREFIX}LAKE_URL": settings.fields.lake_url or "the profile's folder",
        f"{PREFIX}S3_ENDPOINT": _place(settings),
        f"{PREFIX}S3_REGION": settings.fields.s3_region,
        f"{PREFIX}S3_ACCESS_KEY": "set" if settings.fields.s3_access_key else "not set",
        f"{PREFIX}S3_SECRET_KEY": "set" if settings.fields.s3_secret_key else "not set",
        f"{PREFIX}STORE_IDENTITIES": settings.fields.store_identities or "as the store says that it is",
        f"{PREFIX}BRONZE_RETENTION_DAYS": settings.fields.bronze_retention_days,
        f"{PREFIX}DATABASE_URL": settings.database_url or "SQLite in the profile's folder",
        f"{PREFIX}KEEP_LOG_DAYS": settings.keep_log_days,
        f"{PREFIX}UNIVERSE": ",".join(settings.universe) or "all followed instruments: market-pipeline symbols list",
        f"{PREFIX}ALERT_URL": "set" if settings.alert_url else "not set",
        f"{PREFIX}AUTOMATION": settings.fields.automation or "on with a real key, off for sample data",
        f"{PREFIX}TRAILING_SESSIONS": settings.trailing_sessions,
        f"{PREFIX}MAX_REJECTED_RATIO": settings.max_rejected_ratio,
        f"{PREFIX}MIN_ROW_RATIO": settings.min_row_ratio,
        f"{PREFIX}MIN_COVERAGE_RATIO": settings.min_coverage_ratio,
        f"{PREFIX}KEEP_GENERATIONS": settings.keep_generations,
        f"{PREFIX}DAGSTER_PORT": settings.dagster_port,
        f"{PREFIX}DASHBOARD_PORT": settings.dashboard_port,
        f"{PREFIX}SANDBOX_PORT": settings.sandbox_port,
        f"{PREFIX}SANDBOX_URL": settings.sandbox_url or "this machine",
        f"{PREFIX}METRICS_PORT": settings.metrics_port,
        f"{PREFIX}WAREHOUSE_HOME": _short(settings.warehouse.parent),
    }
    for provider in providers.load().values():
        plan, pace = settings.pace(provider)
        found[provider.auth.setting] = "set" if settings.key(provider) else "not set"
        if provider.auth.place == "url":
            found.update({f.query_setting or "": "set" if settings.has_query(f) else "not set" for f in provider.feeds})
            continue
        try:
            found[provider.base_url_setting] = settings.base_url(provider)
        except ConfigurationError as error:  # one provider's address must not hide the others' settings
            found[provider.base_url_setting] = f"refused: {error}"
        found[provider.plan_setting] = f"{plan} ({pace.calls_per_day or 'no cap on'} calls a day)"
    return found


def sandbox(
    *,
    port: int | None = None,
    clock: str | None = None,
    plan: str = "unlimited",
    recorded: Path | None = None,
) -> None:
    """Serve every provider's API on a fictional market, or the files of a folder as they are. Ctrl-C ends it.

    Parameters
    ----------
    port
        Loopback port; by default MARKET_PIPELINE_SANDBOX_PORT.
    clock
        The market's time, ISO 8601; by default the machine's.
    plan
        Call limits: Alpha Vantage's free, premium-75, ... or PROVIDER=PLAN, comma separated; unlimited by default.
    recorded
        A folder of recorded payloads to serve instead of the fictional market.
    """
    settings = load_settings()
    from market_pipeline.sandbox.__main__ import main  # noqa: PLC0415 - the one import of the sandbox

    arguments = ["--port", str(port or settings.sandbox_port)]
    arguments += [word for part in plan.split(",") for word in ("--plan", part)]
    arguments += ["--clock", clock] if clock else []
    arguments += ["--recorded", str(recorded)] if recorded else ["--universe", str(settings.dbt_project / "seeds")]
    main(arguments)


def demo() -> int:
    """The whole pipeline on the fictional market: a year of sessions, four weekly snapshots, then gold."""
    os.environ[f"{PREFIX}PROFILE"] = "demo"
    init(demo=True)
    from market_pipeline.cli.demo import run_demo  # noqa: PLC0415

    return run_demo(load_settings())


def dev() -> int:
    """Serve Dagster and the dashboard of this profile on loopback until Ctrl-C; the demo's sandbox too."""
    from market_pipeline.cli.prepare import prepare  # noqa: PLC0415
    from market_pipeline.cli.services import serve  # noqa: PLC0415

    settings = load_settings()
    prepare(settings)
    if not sys.stdout.isatty():
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return serve(settings)
