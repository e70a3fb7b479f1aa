"""How far the lake reaches: the newest position and time of what bronze holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from pipelines.change.position import ORDER
from pipelines.contract import Catalog, Contract
from pipelines.errors import QueryError
from pipelines.moment import BRONZE_ORDER, LAST, Moment, lsn_text
from pipelines.storage import Lake

_START = (0, 0, 0, 0)


def refuse_future(lake: Lake, catalog: Catalog, moment: Moment) -> None:
    """Nothing, when the lake holds an event as late as the moment, or a later one.

    Raises:
        QueryError: when it does not, naming the newest event's position and time.
    """
    ends = [end for contract in catalog.layer("silver") if (end := _end(lake, contract))]
    if not ends:
        raise QueryError("the lake holds no events yet", hint="run 'medallion run' first")
    last = max(ends, key=lambda end: end.position)
    known = moment.position is None or moment.position[0] <= last.position[0]
    if known and any(end.reaches(moment) for end in ends):
        return
    if moment.time is not None:
        newest = f"{max(end.time for end in ends):%Y-%m-%dT%H:%M:%S.%fZ}"
    elif moment.lsn is not None:
        newest = lsn_text(max(end.lsn for end in ends))
    else:
        newest = "/".join(map(str, last.position))
    raise QueryError(
        f"{moment.text} is later than what the lake holds: its newest event is at {newest}",
        hint="capture first, or leave --as-of out for the newest",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """How far a bronze table reaches."""

    position: tuple[int, ...]
    time: datetime
    oldest_epoch: int

    @property
    def lsn(self) -> int:
        """The newest log position it knows, as a commit's or as an event's own."""
        return max(self.position[1:3])

    def reaches(self, moment: Moment) -> bool:
        """Whether it holds an event as late as the moment, or a later one."""
        if moment.time is not None:
            return moment.time <= self.time
        if moment.lsn is not None:
            return moment.lsn <= self.lsn
        wanted = moment.among(self.oldest_epoch, self.position[0]).position or _START
        parts = 4 if wanted[3] < LAST else 3
        return wanted[:parts] <= self.position[:parts]


def _end(lake: Lake, contract: Contract) -> _End | None:
    if lake.version(contract.bronze) is None:
        return None
    bronze = lake.scan(contract.bronze)
    ordered = bronze.select(BRONZE_ORDER).sort(BRONZE_ORDER, descending=True)
    last = ordered.head(1).collect(engine="streaming")
    if not len(last):
        return None
    extremes = bronze.select(pl.col("event_timestamp").max(), pl.col(ORDER[0]).min())
    time, oldest = extremes.collect(engine="streaming").row(0)
    return _End(position=tuple(last.row(0)), time=time, oldest_epoch=oldest)


def epochs(lake: Lake, bronze: str) -> tuple[int, int]:
    """The oldest and the newest epoch of a bronze table."""
    epoch = pl.col(ORDER[0])
    found = lake.scan(bronze).select(epoch.min().alias("oldest"), epoch.max().alias("newest"))
    oldest, newest = found.collect(engine="streaming").row(0)
    return oldest or 0, newest or 0
