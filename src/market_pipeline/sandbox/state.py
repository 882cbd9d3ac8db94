"""The sandbox's state: its settings, the market, the clock, every provider's account, the faults in force.

What does not belong here: HTTP (`app`).
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from market_pipeline.sandbox import faults
from market_pipeline.sandbox.alpha_vantage import AlphaVantage
from market_pipeline.sandbox.fmp import Fmp
from market_pipeline.sandbox.market import DEFAULT_ROSTER_SIZE, DEFAULT_SEED, Market
from market_pipeline.sandbox.polygon import Polygon
from market_pipeline.sandbox.provider import Answer, Call, Provider
from market_pipeline.sandbox.quota import Quota

PROVIDERS = ("alpha_vantage", "fmp", "polygon")
MAX_ROSTER_SIZE = 15_000  # there are names for that many and their successors


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """`universe` is the folder of the fictional universe's seed files, `recorded` one of captured bodies (then the
    fictional market answers nothing). `clock` None is the machine's clock. `plan` is Alpha Vantage's plan; `plans` has
    the others', which are without limits where it is silent. `keys` None takes any key. With `echoes_key` Alpha
    Vantage's daily refusal repeats the caller's key. `documented_symbol` is the one that its key `demo` may ask for.
    `roster_size` is about how many tickers are listed beside the universe's."""

    universe: Path | None = None
    recorded: Path | None = None
    clock: dt.datetime | None = None
    seed: int = DEFAULT_SEED
    plan: str = "free"
    plans: Mapping[str, str] = field(default_factory=dict)
    roster_size: int = DEFAULT_ROSTER_SIZE
    keys: frozenset[str] | None = None
    echoes_key: bool = False
    documented_symbol: str = "IBM"
    faults: tuple[faults.Fault, ...] = ()
    monotonic: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if (self.universe is None) == (self.recorded is None):
            raise ValueError("Give the sandbox either a universe folder or a folder of recorded payloads")
        if self.clock is not None and self.clock.tzinfo is None:
            raise ValueError("The sandbox's clock needs a time zone")
        if not 0 <= self.roster_size <= MAX_ROSTER_SIZE:
            raise ValueError(f"The roster has 0 to {MAX_ROSTER_SIZE} tickers")
        unknown = set(self.plans) - set(PROVIDERS)
        if unknown:
            raise ValueError(f"No provider {', '.join(sorted(unknown))}; the sandbox has {', '.join(PROVIDERS)}")

    def plan_of(self, provider: str) -> str:
        """The plan of a provider's account."""
        return self.plans.get(provider, self.plan if provider == "alpha_vantage" else "unlimited")


class Sandbox:
    """The state behind the application: market, clock, providers with their counters, faults."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.market = (
            None
            if config.universe is None
            else Market.load(config.universe, seed=config.seed, roster_size=config.roster_size)
        )
        self.clock = config.clock
        self.providers: dict[str, Provider] = {provider.name: provider for provider in _providers(config, self.market)}
        self.quotas = {name: Quota(p.limits, config.monotonic) for name, p in self.providers.items()}
        self.faults = faults.Plan(config.faults, seed=config.seed)
        self.answers: Counter[tuple[str, str, str, str]] = Counter()

    def now(self) -> dt.datetime:
        """The sandbox's instant, UTC."""
        return self.clock or dt.datetime.now(dt.UTC)

    def reset(self) -> None:
        """Back to the start."""
        self.clock = self.config.clock
        for quota in self.quotas.values():
            quota.reset()
        self.faults.replace(self.config.faults)
        self.answers.clear()

    def refusal(self, provider: Provider, call: Call) -> Answer | None:
        """What key and plan have against a call; None when it is admitted, and then it has been counted."""
        refusal = provider.refusal(call)
        if refusal is not None or not provider.is_counted(call):
            return refusal
        limit = self.quotas[provider.name].admit(call.key, self.now())
        return None if limit is None else provider.limited(call, limit)

    def answer(self, provider: Provider, call: Call, broken: faults.Fault | None) -> Answer:
        """The answer to an admitted call, with a fault of its content if that is what it gets."""
        if broken is not None and broken.kind == "message":
            return provider.message(broken.message, call)
        answer = provider.answer(call, self.now())
        return answer if broken is None else provider.spoiled(answer, broken, call)


def _providers(config: SandboxConfig, market: Market | None) -> Iterator[Provider]:
    def shelf(name: str) -> Path | None:
        return None if config.recorded is None else config.recorded / name

    yield AlphaVantage(
        market,
        plan=config.plan_of("alpha_vantage"),
        shelf=shelf("alpha_vantage"),
        keys=config.keys,
        echoes_key=config.echoes_key,
        documented_symbol=config.documented_symbol,
    )
    yield Fmp(market, plan=config.plan_of("fmp"), shelf=shelf("fmp"), keys=config.keys)
    yield Polygon(market, plan=config.plan_of("polygon"), shelf=shelf("polygon"), keys=config.keys)
