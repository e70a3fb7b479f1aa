"""What has landed applied and built, turn by turn: only tables with news, and those that read them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.contract import Catalog
from pipelines.cut import Cut, plan_cut
from pipelines.errors import LagError, MedallionError
from pipelines.follow.ends import Ends
from pipelines.follow.telling import Telling
from pipelines.follow.vitals import Vitals
from pipelines.gold import Built, inputs_of
from pipelines.ingest import open_lake
from pipelines.plan import parents_of
from pipelines.provenance import keep_lineage
from pipelines.refine import apply_all, build_all, chosen, keep_quality
from pipelines.run_events import RunEvents
from pipelines.settings import Settings
from pipelines.silver import Applied
from pipelines.upkeep import keep_up

_log = logging.getLogger(__name__)

#: A table that failed is tried again after this long, one that a cut holds back after this long.
_FAILED_SECONDS, _HELD_SECONDS = 30.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a follower does what need not be done with each batch, in seconds."""

    #: A batch is kept open this long after its first record.
    batch: float = 0.2
    #: Topics' ends are asked for: lag, complete snapshots, settled transactions.
    ends: float = 15.0
    #: A table is judged as a whole, and its results are kept.
    quality: float = 60.0
    #: Small files and dead rows are folded away.
    upkeep: float = 300.0
    #: OpenLineage hears of a table that changed.
    tell: float = 60.0


class Refinery:
    """Applies and builds what a follower has landed; on a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        vitals: Vitals,
        pace: Pace,
        report: Callable[[Applied | Built], None],
        take: Callable[[], dict[str, int]],
        events: RunEvents,
    ) -> None:
        self._lake, self._catalog, self._vitals, self._pace = (
            open_lake(settings),
            catalog,
            vitals,
            pace,
        )
        self._report, self._take = report, take
        self._silver, self._gold = chosen(catalog, "silver", None), chosen(catalog, "gold", None)
        self._topics = {
            each.source.topic: each.table for each in self._catalog.layer("silver") if each.source
        }
        self._readers = readers_of(catalog)
        self._bronze = {
            each.source.topic: each.bronze for each in catalog.layer("silver") if each.source
        }
        self._telling = Telling(events, pace.tell, self._bronze.values())
        #: Tables to be brought on whether or not there is news: held by a cut, or failed before.
        self._owed, self._failed = {*self._silver, *self._gold}, set[str]()
        self._since: dict[str, int] = {}
        #: The version of bronze that each silver table was last brought to.
        self._stood: dict[str, int] = {}
        self._changed, self._judged_at = set[str](), dict[str, float]()
        self._ends = Ends(settings, catalog, vitals)
        self._retry_at = 0.0
        self._kept_at = time.monotonic()

    def run(self, wait: Callable[[float], bool]) -> None:
        """Turns until `wait` says that all has landed and the end has come, then once more."""
        try:
            self._turns(wait)
        except BaseException as error:
            self._telling.close(error)
            raise
        self._telling.close()

    def _turns(self, wait: Callable[[float], bool]) -> None:
        keep_lineage(self._lake, self._catalog, datetime.now(UTC))
        drained = False
        while not drained:
            drained = wait(1.0)
            self._vitals.turned("refine")
            if self._ends.due(self._pace.ends) and self._ends.look(
                self._lake, waiting=bool(self._owed)
            ):
                self._owed |= {*self._silver}  # what complete snapshots lack can be closed
            self._turn(last=drained)
            self._telling.tell()

    def _turn(self, *, last: bool) -> None:
        fresh = self._take()
        for topic in fresh.keys() & self._bronze.keys():
            self._telling.changed(self._bronze[topic])
        wanted = self._wanted(fresh, last=last)
        if not wanted:
            return
        began, now = time.monotonic(), datetime.now(UTC)
        cut = plan_cut(self._lake, self._catalog)
        # What landed since is within the cut: its tables must come along, or gold would find them late.
        wanted |= self._wanted(self._take(), last=last) | self._unseen(cut)
        tables = [table for table in self._silver if table in wanted]
        done, failed = apply_all(
            self._lake, self._catalog, tables, now=now, cut=cut, after=self._after,
            progress=lambda _: self._vitals.turned("refine"),
        )  # fmt: skip
        self._stood |= {each.table: cut.limits[each.table].version for each in done if each.table in cut.limits}  # fmt: skip
        for each in done:
            self._vitals.applied.labels(each.table).inc(each.events)
            self._vitals.waiting.labels(each.table).set(each.quarantined)
        builds, broken = build_all(
            self._lake,
            self._catalog,
            [table for table in self._gold if table in wanted],
            now=now,
            after=self._after,
            cut=cut,
            failed=failed,
        )
        for each in builds:
            self._vitals.built.labels(each.table).inc(each.changed)
        self._settle([*tables, *(b.table for b in builds)], {**failed, **broken}, cut)
        self._keep_quality(now, last=last)
        self._keep_up()
        self._vitals.cycle.observe(time.monotonic() - began)
        self._vitals.reached()

    def _wanted(self, fresh: Mapping[str, int], *, last: bool) -> set[str]:
        """The tables to bring on: those with news and all that read them, and those owed."""
        news = {self._topics[topic]: at for topic, at in fresh.items() if topic in self._topics}
        if (
            fresh.keys() - self._topics.keys()
        ):  # a connector's own topics: a transaction may have ended
            news |= {
                table: 0 for table in self._owed if table in self._silver and table not in news
            }
        reached = {reader: at for table, at in news.items() for reader in self._readers[table]}
        for table, at in [*reached.items(), *news.items()]:
            self._since[table] = self._since.get(table, at) or at
        owed = self._owed if last or time.monotonic() >= self._retry_at else set[str]()
        return {*news, *reached, *owed}

    def _unseen(self, cut: Cut) -> set[str]:
        """Tables whose bronze is not that of their last apply, and their readers; but none that failed."""
        newer = {
            table
            for table, limit in cut.limits.items()
            if limit.version != self._stood.get(table) and table not in self._failed
        }
        return newer.union(*(self._readers[table] for table in newer))

    def _settle(self, tables: list[str], failed: Mapping[str, MedallionError], cut: Cut) -> None:
        """Says what became of each table; those that failed or were held back are owed."""
        held = {table for table, limit in cut.limits.items() if limit.position is not None}
        self._owed = {
            *failed,
            *(reader for table in held for reader in (table, *self._readers[table])),
        }
        self._failed = {table for table, error in failed.items() if not isinstance(error, LagError)}
        self._retry_at = time.monotonic() + (_FAILED_SECONDS if self._failed else _HELD_SECONDS)
        for table, error in failed.items():
            _log.error("%s: %s", table, error)
            self._vitals.trouble(table, error)
            self._telling.failed(table, error)
        for table in tables:
            if table in failed or table in self._owed:
                continue
            self._vitals.fine(table)
            if since := self._since.pop(table, 0):
                self._vitals.to_table.labels(table).observe(max(0.0, time.time() - since / 1e6))

    def _after(self, done: Applied | Built) -> None:
        if isinstance(done, Built) or done.events or done.released:
            self._changed.add(done.table)
            self._report(done)
            self._telling.changed(done.table, done)

    def _keep_quality(self, now: datetime, *, last: bool) -> None:
        """Judges the tables that changed since they last were, now and then: it costs a reading of each."""
        turn = time.monotonic()
        for table in sorted(self._changed):
            if last or turn - self._judged_at.get(table, -self._pace.quality) >= self._pace.quality:
                run_id = f"follow/{now:%Y%m%dT%H%M%S%f}"
                found = keep_quality(self._lake, self._catalog, table, now, run_id=run_id)
                self._telling.judged(table, found)
                self._judged_at[table] = turn
                self._changed.discard(table)

    def _keep_up(self) -> None:
        """Folds what has gathered, between two turns: nobody here writes silver or gold meanwhile."""
        if time.monotonic() - self._kept_at < self._pace.upkeep:
            return
        self._kept_at = time.monotonic()
        try:
            keep_up(self._lake, self._lake.tables())
        except MedallionError as error:
            self._vitals.trouble("upkeep", error)
        else:
            self._vitals.fine("upkeep")


def readers_of(catalog: Catalog) -> dict[str, set[str]]:
    """For each silver table those that may change with it: tables that refer to it, and gold above them."""
    reads = {contract.table: set(parents_of(contract)) for contract in catalog.layer("silver")}
    for contract in catalog.layer("gold"):
        reads[contract.table] = {
            name.replace("history.", "silver.", 1) for name in inputs_of(contract)
        }
    found = dict[str, set[str]]()
    for table in (contract.table for contract in catalog.layer("silver")):
        reached, news = set[str](), {table}
        while news:
            news = {name for name, inputs in reads.items() if inputs & news} - reached
            reached |= news
        found[table] = reached - {table}
    return found
