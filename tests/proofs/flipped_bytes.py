"""Promise 19, the lying disk: a byte flipped in a file of ours is found and named, the last good generation is
served, and what can be made again is made again.

Each kind of file is one entry: which files, how they are read, and how the damage is mended. Bronze can't be made
again: there the backup's bytes are put back. Silver's own hashes will be one more entry.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

import warehouse_fixture as fixture
from market_pipeline import commit
from market_pipeline.errors import LakeError
from market_pipeline.ingest import ingest
from market_pipeline.normalize import normalize
from market_pipeline.partition import Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.store import FolderStore
from market_pipeline.warehouse import Warehouse
from proofs import oracle
from proofs.kills_gold import SQL_SUM
from proofs.proof import Proof, Result
from proofs.workers import PART, WEEKLY, publish_pair
from wire import NOW, client, instrument, reply, weeks

SYMBOLS = tuple(f"S{n:02d}" for n in range(30))
SLICES = 6


class Site:
    """A lake with six slices of thirty payloads, and a warehouse with three generations."""

    def __init__(self, folder: Path) -> None:
        self.lake, self.folder = folder / "lake", folder
        self.store, self.gold = FolderStore(self.lake), Warehouse(folder / "warehouse")
        self.parts = [PART]
        while len(self.parts) < SLICES:
            self.parts.append(Slice.at(self.parts[-1].end, grain=WEEKLY.grain))

        def answer(request: httpx2.Request) -> httpx2.Response:
            return reply(weeks(4, close=30 + int(request.url.params["symbol"][1:])))

        with client(folder, answer=answer) as made:
            for number, part in enumerate(self.parts):
                moment = NOW + (part.start - PART.start)
                report = ingest(
                    PROVIDER,
                    WEEKLY,
                    part,
                    [instrument(symbol) for symbol in SYMBOLS],
                    store=self.store,
                    client=made,
                    now=lambda moment=moment: moment,
                )
                assert report.is_complete, number
                self.normalize(part)
        for _ in range(3):
            self.publish()
        self.gold.write_health(fixture.health("000003"))

    def normalize(self, part: Slice) -> str:
        """Hash of the slice's silver, made anew."""
        return normalize(PROVIDER, WEEKLY, part, store=self.store).sha256

    def publish(self) -> None:
        """One more generation."""
        publish_pair(self.gold, self.folder / "build.duckdb", rows=2000)

    def part_of(self, path: Path) -> Slice:
        """The slice of a bronze file."""
        return next(part for part in self.parts if path.parent.name == f"slice={part.key}")

    def served(self) -> list[tuple[int, ...]]:
        """What a reader sees."""
        with self.gold.connect() as (con, _):
            return con.execute(SQL_SUM).fetchall()


@dataclass(frozen=True)
class Kind:
    """`find` raises an error that names the file, when it is damaged; `mend` is what its message tells to do."""

    files: Callable[[Site], Iterator[Path]]
    find: Callable[[Site, Path], object]
    mend: Callable[[Site, Path, bytes], None]


def _restore(site: Site, path: Path, whole: bytes) -> None:
    """The backup's bytes; then silver is what it was."""
    path.write_bytes(whole)
    before = site.store.get(_silver(site, path))
    site.normalize(site.part_of(path))
    if site.store.get(_silver(site, path)) != before:
        raise AssertionError("silver differs after the bytes were put back")


def _silver(site: Site, path: Path) -> str:
    key = site.part_of(path).key
    return next(k for k in site.store.list("silver/") if f"slice={key}/part" in k)


def _roll_back(site: Site, path: Path, whole: bytes) -> None:
    """Readers go back, and the next publication makes a sound one."""
    site.gold.rollback()
    assert site.served()[0][2] == 4000
    site.publish()
    site.gold.verify()
    path.write_bytes(whole)  # as an older generation it would stay damaged, and soon the others would be pruned


def _read_silver(site: Site, path: Path) -> object:
    """What gold does before it reads."""
    names = commit.names(site.store, WEEKLY.contract, PROVIDER.name, WEEKLY.dataset)
    return commit.verified(site.store, [name for name in names if name.slice_key == site.part_of(path).key])


def _replay(site: Site, path: Path, whole: bytes) -> None:
    """From bronze, byte for byte."""
    site.normalize(site.part_of(path))
    if path.read_bytes() != whole:
        raise AssertionError("replay gave other bytes")
    _read_silver(site, path)


def _current(site: Site) -> Path:
    found = site.gold.current()
    assert found is not None
    return site.gold.folder / found.file


def _older(site: Site, path: Path) -> None:
    """Nobody can go back to a generation that is not what it was."""
    served = site.served()
    try:
        site.gold.rollback(path.stem.removeprefix("gold-"))
    finally:
        assert site.served() == served


KINDS = {
    "payload": Kind(
        lambda site: site.lake.glob("bronze/*/*/*/*.csv"),
        lambda site, path: site.normalize(site.part_of(path)),
        _restore,
    ),
    "manifest": Kind(
        lambda site: (max(folder.glob("manifest-*.json")) for folder in site.lake.glob("bronze/*/*/*")),  # the truth
        lambda site, path: site.normalize(site.part_of(path)),
        _restore,
    ),
    "silver": Kind(lambda site: site.lake.glob("silver/**/part.parquet"), _read_silver, _replay),
    "commit of silver": Kind(lambda site: site.lake.glob("silver/**/commit.json"), _read_silver, _replay),
    "generation in force": Kind(
        lambda site: iter([_current(site)]), lambda site, _path: site.gold.verify(), _roll_back
    ),
    "older generation": Kind(
        lambda site: (p for p in site.gold.folder.glob("gold-*.duckdb") if p != _current(site)),
        _older,
        lambda _site, path, whole: path.write_bytes(whole) and None,
    ),
    "record of an older generation": Kind(
        lambda site: (p for p in site.gold.folder.glob("gold-*.json") if p.stem != _current(site).stem),
        _older,
        lambda _site, path, whole: path.write_bytes(whole) and None,
    ),
    "pointer": Kind(
        lambda site: iter([site.gold.folder / "CURRENT"]),
        lambda site, _path: site.gold.current(),
        lambda site, _path, _whole: site.gold.rollback() and None,
    ),
    "health": Kind(
        lambda site: iter([site.gold.folder / "health.json"]),
        lambda site, _path: site.gold.health(),
        lambda site, _path, _whole: site.gold.write_health(fixture.health("000003")),
    ),
}


def _targets(site: Site, rng: random.Random) -> Iterator[tuple[str, Path]]:
    """Every payload and manifest once, in an order of the seed; after every fourth, one of silver or the warehouse."""
    bronze = [(name, path) for name in ("payload", "manifest") for path in sorted(KINDS[name].files(site))]
    rng.shuffle(bronze)
    of_gold = [name for name in KINDS if name not in ("payload", "manifest")]
    for number, (name, path) in enumerate(bronze * 2):
        yield name, path
        if number % 4 == 0:
            kind = of_gold[number // 4 % len(of_gold)]
            yield kind, rng.choice(sorted(KINDS[kind].files(site)))


def run(count: int, *, seed: int, folder: Path) -> Result:
    """A byte flipped in `count` files, one after the other, each mended before the next."""
    rng, site, wrong = random.Random(f"flips {seed}"), Site(folder), list[str]()
    served, kinds = site.served(), dict[str, int]()
    for done, (name, path) in enumerate(_targets(site, rng)):
        if done == count or len(wrong) > 20:
            return Result(done, tuple(wrong), kinds)
        whole, kind = path.read_bytes(), KINDS[name]
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ rng.randrange(1, 256)]) + whole[at + 1 :])
        about = f"{name} {path.name}, byte {at} of {len(whole)}"
        kinds[name] = kinds.get(name, 0) + 1
        silver = _hashes(site.lake / "silver")
        try:
            kind.find(site, path)
        except LakeError as error:
            stem = (
                path.stem.removeprefix("gold-")
                if path.suffix in (".json", ".duckdb") and "gold" in path.stem
                else path.name
            )
            if stem not in str(error):
                wrong.append(f"{about}: not named: {error}")
        else:
            wrong.append(f"{about}: not found")
        if _hashes(site.lake / "silver") != silver:
            wrong.append(f"{about}: silver was written from damaged input")
        if name in ("payload", "manifest", "silver", "commit of silver", "health") and site.served() != served:
            wrong.append(f"{about}: readers see something else")
        if name == "generation in force":
            _read_damaged(site, served, about, wrong)
        try:
            kind.mend(site, path, whole)
            assert site.gold.verify() is not None
            served = site.served()
        except (LakeError, AssertionError) as error:
            wrong.append(f"{about}: not mended: {error}")
            path.write_bytes(whole)
    return Result(done, tuple(wrong), kinds)


def _hashes(folder: Path) -> dict[str, str]:
    return {key: oracle.sha256(data) for key, data in oracle.files(folder).items()}


def _read_damaged(site: Site, served: list[tuple[int, ...]], about: str, wrong: list[str]) -> None:
    """DuckDB's own checksums: a query on damaged bytes is an error, or they were not part of the answer."""
    with contextlib.suppress(LakeError):
        answer, _ = site.gold.query(SQL_SUM)
        if [tuple(row.values()) for row in answer.to_pylist()] != served:
            wrong.append(f"{about}: a reader was given a wrong answer")


PROOFS = (Proof(19, "flipped-bytes", "a byte flipped in a file of ours", "files", 24, 200, 100, run),)
