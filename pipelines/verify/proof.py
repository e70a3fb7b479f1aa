"""Is silver, with quarantine, the source? Every row that differs is named; none of its values is.

Both sides are read in the order of the key and compared range by range: a merge of two streams,
whose memory is that of one range on either side. Values are compared themselves, not sums of them:
both sides have to come here to be brought to one form, and then equality costs less than a hash
and leaves nothing to chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from pipelines.contract import Contract
from pipelines.storage import Lake
from pipelines.verify.compare import ISSUES, KINDS, PLACE, compare, found_schema, within
from pipelines.verify.errors import VerifyError
from pipelines.verify.held import Held, open_held, stored_keys
from pipelines.verify.source import SourceTable
from pipelines.verify.values import Field

#: Rows of the source in a range. The lake is asked for its rows once a range.
RANGE_ROWS = 500_000
#: Differing rows that are remembered; of more, only the number is known.
MOST_REMEMBERED = 100_000
#: Differing rows that are looked at once more.
_MOST_AGAIN = 10_000
_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where the two sides stood when they were compared.

    Positions count bytes of Postgres' log. `reached` tells whether the lake is known to hold all
    that the source had at its position: its newest event is as new or the connectors have sent all
    on, the broker holds nothing that bronze lacks, and bronze nothing that silver lacks.
    Where the broker was not asked (`lag` is None), it is not known.
    """

    source_position: int
    lake_position: int
    versions: dict[str, int]
    unapplied_versions: int | None
    lag: int | None
    reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a comparison found. `found` has a row for each key that differs; see `found_schema`.

    `settled` rows differed at first, and were equal when both sides were read again; `counts` and
    `found` are without them. `moment` is of the comparison. There were `looks` again, none where too
    many rows differ: `last_moment` is the lake of the last and the source's position of the first.
    `moving` rows were changed by the source since the first look, so that they may be right.
    """

    table: str
    source_table: str
    moment: Moment
    last_moment: Moment
    source_rows: int
    silver_rows: int
    quarantined_rows: int
    #: Rows that somebody dropped: the source has them, the lake only their keys.
    dropped_rows: int = 0
    set_aside: int
    counts: dict[str, int]
    found: pl.DataFrame = field(repr=False)
    settled: int = 0
    moving: int = 0
    looks: int = 0
    not_compared: dict[str, str]
    not_in_contract: tuple[str, ...]
    seconds: float

    @property
    def is_equal(self) -> bool:
        """Whether no row differs."""
        return not any(self.counts.values())


def verify(
    lake: Lake,
    contract: Contract,
    url: str,
    *,
    source_table: str | None = None,
    wait_seconds: float = 0,
    range_rows: int = RANGE_ROWS,
    lag: Callable[[], int | None] = lambda: None,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Report:
    """Silver and quarantine compared with the source's table at one position of its log.

    Promised: every row of the source's one snapshot and of the lake's one version is compared, by
    key, every column that the contract names and that has one form on both sides; the others are
    named in the report. Equal means equal to the last digit and microsecond. What a quarantined row
    itself declares unknown (`undecodable:`, `unavailable:`) is set aside and counted, and so is all of
    a row that somebody dropped: it must be in the source, and its values are compared with nothing.

    A row that differs is read once more: from the source, from the newest lake, from the source, and
    so again for `wait_seconds` whenever the lake has moved. A row that was only on its way becomes
    equal, a lost one does not. While `last_moment.reached` is false, a row that differs may still be
    on its way; when it is true and the row not `moving`, it is wrong.

    Not promised: anything of bronze, history or gold; and of a row that the source changes more
    often than changes arrive, a verdict.

    Raises:
        VerifyError: when the contract has no Postgres source, the source cannot be reached or read,
            a table or column is missing, or the contract's key is not unique in the source.
        LakeError: when a table of the lake cannot be read.
    """
    began = time.monotonic()
    if contract.source is None or contract.source.connector != "postgres":
        raise VerifyError(
            f"{contract.table} has no Postgres source",
            hint="only silver tables fed by the postgres connector can be verified",
        )
    named = source_table or ".".join(contract.source.topic.split(".")[-2:])
    with SourceTable(url, named, contract) as source:
        streamed, waiting = source.is_streamed(source.position), lag()
        held = open_held(lake, contract)
        layout, counts = source.layout, held.counts()
        walk = _Walk(source, held, progress, range_rows)
        walk.run()
        moment = _moment(source.position, held, streamed=streamed, lag=waiting)
    report = Report(
        table=contract.table,
        source_table=named,
        moment=moment,
        last_moment=moment,
        source_rows=walk.source_rows,
        silver_rows=counts["silver"],
        quarantined_rows=counts.get("quarantine", 0),
        dropped_rows=len(held.dropped),
        set_aside=walk.set_aside,
        counts=walk.counts,
        found=walk.found(),
        not_compared=layout.not_compared,
        not_in_contract=layout.not_in_contract,
        seconds=0,
    )
    report = _look_again(
        report, lambda: SourceTable(url, named, contract), lake, contract, wait_seconds, lag
    )
    return replace(report, seconds=time.monotonic() - began)


# ---- THE WHOLE TABLE ---- #


class _Walk:
    """The merge of both sides, range by range, and what it has found so far."""

    def __init__(
        self, source: SourceTable, held: Held, progress: Callable[[int], None], range_rows: int
    ) -> None:
        self._source, self._held, self._progress = source, held, progress
        self._fields, self._key = source.layout.fields, list(held.contract.key)
        self._range_rows = range_rows
        self._found = list[pl.DataFrame]()
        self._last: pl.DataFrame | None = None
        self.source_rows = self.set_aside = 0
        self.counts = dict.fromkeys(KINDS, 0)

    def found(self) -> pl.DataFrame:
        """The differing rows, by key; not more than are remembered."""
        return pl.concat([pl.DataFrame(schema=found_schema(self._key)), *self._found])

    def run(self) -> None:
        after: pl.DataFrame | None = None
        pending: pl.DataFrame | None = None
        for rows in self._source.ranges(self._range_rows):
            pending = pl.concat([pending, rows]) if pending is not None and len(pending) else rows
            self._refuse_doubled_keys(rows)
            stored = stored_keys(pending, self._held.contract)
            # A range ends at a key that the lake can hold; the others wait for the next range.
            at = stored.select(pl.all_horizontal(pl.all().is_not_null()).arg_true().last()).item()
            if at is not None:
                to = _alone(stored[at])
                self._compare_range(pending[: at + 1], after, to)
                after, pending = to, pending[at + 1 :]
        rest = pending if pending is not None else self._source.no_rows()
        self._compare_range(rest, after, None)
        self._take(self._source.no_rows(), self._held.without_key(self._fields))

    def _compare_range(
        self, rows: pl.DataFrame, after: pl.DataFrame | None, to: pl.DataFrame | None
    ) -> None:
        self.source_rows += len(rows)
        parts = self._held.between(self._fields, after, to, most=2 * self._range_rows)
        for lake, reach in parts:
            now, rows = (
                _split(rows, self._held.contract, reach) if reach is not to else (rows, rows[:0])
            )
            self._take(now, lake)
            self._progress(len(now))

    def _take(self, source: pl.DataFrame, lake: pl.DataFrame) -> None:
        found, set_aside = compare(source, lake, self._fields, self._key)
        self.set_aside += set_aside
        for kind, number in _by_kind(found).items():
            self.counts[kind] += number
        room = MOST_REMEMBERED - sum(map(len, self._found))
        if len(found) and room:
            self._found.append(found[:room])

    def _refuse_doubled_keys(self, rows: pl.DataFrame) -> None:
        key = ", ".join(self._key)
        keys = rows.select(self._key)
        if any(keys.null_count().row(0)):
            raise VerifyError(
                f"{self._held.contract.table}: the key ({key}) has nulls in the source",
                hint="the contract's key must be columns that are never null there",
            )
        last = [] if self._last is None else [self._last]
        self._last = _alone(keys[-1:])
        if pl.concat([*last, keys]).is_duplicated().any():
            raise VerifyError(
                f"{self._held.contract.table}: the key ({key}) is not unique in the source",
                hint="compare the contract's 'key' with the source's primary key",
            )


def _split(
    rows: pl.DataFrame, contract: Contract, reach: pl.DataFrame | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows up to a key, and the others."""
    inside = stored_keys(rows, contract).select(within(contract.key, None, reach)).to_series()
    inside = inside.fill_null(value=False)
    return rows.filter(inside), rows.filter(~inside)


def _alone(row: pl.DataFrame) -> pl.DataFrame:
    """The row in memory of its own; a slice would keep the texts of its whole range."""
    return pl.DataFrame(row.to_dict(as_series=False), schema=row.schema)


def _by_kind(found: pl.DataFrame) -> dict[str, int]:
    return {kind: int((found["kind"] == kind).sum()) for kind in KINDS}


# ---- THE ROWS THAT DIFFER, AGAIN ---- #


def _look_again(
    report: Report,
    open_source: Callable[[], SourceTable],
    lake: Lake,
    contract: Contract,
    wait_seconds: float,
    lag: Callable[[], int | None],
) -> Report:
    """The report without the rows that became equal."""
    deadline = time.monotonic() + wait_seconds
    first: _Seen | None = None
    while not report.is_equal and sum(report.counts.values()) <= _MOST_AGAIN:
        report, first = _look(report, open_source, lake, contract, lag, first)
        certain = report.last_moment.reached and not report.moving
        if certain or time.monotonic() >= deadline:
            break
        _wait_for_news(lake, contract, report.last_moment.versions, deadline)
    return report


@dataclass(frozen=True, slots=True)
class _Seen:
    """The differing rows as the source had them at a position of its log."""

    position: int
    rows: pl.DataFrame


def _wait_for_news(
    lake: Lake, contract: Contract, seen: Mapping[str, int], deadline: float
) -> None:
    """Returns when a table of the lake has another version, or time is over."""
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(_POLL_SECONDS, left))
        if any(lake.version(contract.sibling(layer)) != at for layer, at in seen.items()):
            return


def _look(
    report: Report,
    open_source: Callable[[], SourceTable],
    lake: Lake,
    contract: Contract,
    lag: Callable[[], int | None],
    first: _Seen | None,
) -> tuple[Report, _Seen]:
    """One more look: at the source, the lake, and the source once more, at the differing keys alone.

    A row is settled when the lake equals either. It is moving when the source has changed it since
    the first look; a lake that holds all from before the first look owes the others.
    """
    key = list(contract.key)
    keys = report.found.drop_nulls(key).select(key)
    with open_source() as source:
        fields, before = source.layout.fields, source.rows_of(keys)
        first = first or _Seen(source.position, before)
        streamed, waiting = source.is_streamed(first.position), lag()
        held = open_held(lake, contract)
        there = held.rows_of(keys, fields)
        moment = _moment(first.position, held, streamed=streamed, lag=waiting)
    with open_source() as source:
        afterwards = source.rows_of(keys)
    still = _differing(afterwards, there, fields, key).join(
        _differing(before, there, fields, key), on=key, how="semi"
    )
    changed = _differing(first.rows, _like_the_lake(afterwards), fields, key)
    unreadable = report.found.filter(pl.any_horizontal(pl.col(key).is_null()))
    found = pl.concat([still, unreadable])
    looked = replace(
        report,
        found=found,
        counts=_by_kind(found),
        settled=report.settled + len(report.found) - len(found),
        moving=len(still.join(changed, on=key, how="semi")),
        looks=report.looks + 1,
        last_moment=moment,
    )
    return looked, first


def _differing(
    source: pl.DataFrame, lake: pl.DataFrame, fields: Sequence[Field], key: Sequence[str]
) -> pl.DataFrame:
    found, _ = compare(source, lake, fields, key)
    return found


def _like_the_lake(source: pl.DataFrame) -> pl.DataFrame:
    return source.with_columns(
        pl.lit("source").alias(PLACE), pl.lit(None, pl.List(pl.String())).alias(ISSUES)
    )


def _moment(position: int, held: Held, *, streamed: bool | None, lag: int | None) -> Moment:
    newest = held.position()
    complete = lag == 0 and held.unapplied == 0
    return Moment(
        source_position=position,
        lake_position=newest,
        versions=held.versions,
        unapplied_versions=held.unapplied,
        lag=lag,
        reached=complete and (newest >= position or bool(streamed)),
    )
