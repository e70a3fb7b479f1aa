"""One total order of a source's events: (epoch, commit, event, Kafka offset).

* **epoch**: when the full snapshot that an event follows began, in milliseconds. A source restored
  from a backup, or another server after a failover, writes lower log positions than before; they
  are newer, not late. A new snapshot tells, and where there is none: a position that falls while
  the source's clock goes on, or while another server's log begins. An event that is only sent again
  has the time it had.
* **commit, event**: the connector's position (`envelope`). Postgres emits in commit order, so
  `source.lsn` alone falls between transactions; `source.sequence` holds [last commit lsn, lsn]
  (Debezium Postgres connector, "Change events"). Rows of the full snapshot stand at (0, 0), before
  every streamed event.
* an event without a position (incremental snapshot, tombstone, a flat row without metadata) is as
  new as the newest before it in its partition, where Kafka's order decides.

Positions are given once, when an event lands in bronze, as far as its own partition tells: silver,
history, late-event tests and truncates all compare the same four numbers. Epochs alone are completed
where bronze is read (`epochs`), since a partition may land before the one that shows a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

#: The columns of the order, oldest first when sorted ascending.
ORDER = ("source_epoch", "source_commit", "source_event", "source_offset")

_FULL_SNAPSHOT = ("true", "first", "first_in_data_collection", "last_in_data_collection", "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """Where a partition's last landed event stands; what the next one is compared with."""

    epoch: int = 0
    #: When the producer had written a record of this epoch, in milliseconds.
    written_ms: int = 0
    commit: int = 0
    event: int = 0
    #: Source time in milliseconds at which the last full snapshot began, and whether it still goes on.
    snapshot_ms: int | None = None
    in_snapshot: bool = False
    #: The log position that the rows of the last full snapshot name: where it was taken.
    snapshot_at: int | None = None
    #: Whether the epoch's snapshot of this table is known to be complete.
    done: bool = False
    #: When the producer had written the newest streamed event, in milliseconds.
    streamed_ms: int = 0
    #: The latest source time of a streamed event, in microseconds, and the log that it came from.
    time_us: int | None = None
    log: str | None = None
    #: Position, key and kind of the very last record: a tombstone belongs to the delete before it.
    last_key: str | None = None
    last_was_delete: bool = False
    last_commit: int = 0
    last_event: int = 0


def assign(
    records: pl.DataFrame, states: Mapping[int, PartitionState]
) -> tuple[pl.DataFrame, dict[int, PartitionState]]:
    """The records with `source_epoch`, `source_commit`, `source_event`, and the states after them.

    `records` are of one topic and hold kafka_partition, kafka_offset, kafka_timestamp, key and what
    `describe` adds; they come back sorted by partition and offset.
    """
    ordered = records.sort("kafka_partition", "kafka_offset")
    parts = [
        _assign_partition(part, states.get(int(partition[0]), PartitionState()))
        for partition, part in ordered.group_by("kafka_partition", maintain_order=True)
    ]
    frame = pl.concat([part for part, _ in parts]) if parts else _empty(ordered)
    after = {int(part["kafka_partition"][0]): state for part, state in parts}
    return frame, {**states, **after}


def _empty(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.lit(None, pl.Int64).alias(name) for name in ORDER[:3])


def _assign_partition(
    part: pl.DataFrame, state: PartitionState
) -> tuple[pl.DataFrame, PartitionState]:
    part, snapshot_ms = _with_epochs(part, state)
    known, full = _streamed() | _is_full(), _is_full()
    part = part.with_columns(
        # The first transactions after a start name no last commit; their own lsn stands in for it:
        # it lies before their commit, and so before the commit that the next transaction names.
        pl.when(full).then(0).when(known).then(pl.col("commit_position")).alias("source_commit"),
        pl.when(full).then(0).when(known).then(pl.col("event_position")).alias("source_event"),
    )
    if part["source_commit"].null_count():
        part = _fill_positions(part, state)
    return part, _state_after(part, state, snapshot_ms)


def is_full_snapshot(mark: str | None) -> bool:
    """Whether a row's `source.snapshot` says that it is of a full snapshot."""
    return mark in _FULL_SNAPSHOT


def _is_full() -> pl.Expr:
    return pl.col("snapshot").is_in(_FULL_SNAPSHOT).fill_null(value=False)


def _is_last() -> pl.Expr:
    """Whether a row is the last of its table's full snapshot."""
    return _is_full() & pl.col("snapshot").str.starts_with("last")


def _streamed() -> pl.Expr:
    """Whether an event names a place in the log."""
    mark = pl.col("snapshot").fill_null("false")
    return pl.col("event_position").is_not_null() & (mark != "incremental") & ~_is_full()


def _with_epochs(part: pl.DataFrame, state: PartitionState) -> tuple[pl.DataFrame, int | None]:
    """Each row's epoch: that of the full snapshot, or of the log, which began last before it."""
    epoch, snapshot_ms = state.epoch, state.snapshot_ms
    starts, last = list[tuple[int, int]](), _Log(state)
    for offset, ms in _snapshot_starts(part, state):
        between = _between(part, starts[-1][0] if starts else None, offset)
        for reset in last.resets(between):
            epoch = max(epoch + 1, reset[1])
            starts.append((reset[0], epoch))
        epoch, snapshot_ms, last = max(epoch + 1, ms), ms, _Log()
        starts.append((offset, epoch))
    for reset in last.resets(_between(part, starts[-1][0] if starts else None, None)):
        epoch = max(epoch + 1, reset[1])
        starts.append((reset[0], epoch))
    return _step(part, state.epoch, starts), snapshot_ms


def _snapshot_starts(part: pl.DataFrame, state: PartitionState) -> list[tuple[int, int]]:
    """Where full snapshots begin: offset, and their source time in milliseconds.

    A snapshot begins with a row so marked, or where its rows follow others, or one's last row, or
    name another place in the log than those before: all rows of one name where it was taken. Their
    times are no sign: some connectors give every row of one snapshot its own.
    """
    if not part.select(_is_full().any()).item():
        return []
    going_on = state.in_snapshot and not state.done
    before = (_is_full() & ~_is_last()).shift(1, fill_value=going_on)
    taken = pl.col("event_position")
    known = pl.when(_is_full()).then(taken).forward_fill().shift(1)
    elsewhere = (taken != pl.coalesce(known, pl.lit(state.snapshot_at, pl.Int64))).fill_null(
        value=False
    )
    first = pl.col("snapshot").str.starts_with("first")
    begins = _is_full() & (~before | first | elsewhere)
    times = (pl.col("source_time_us") // 1000).alias("ms")
    began, starts = state.snapshot_ms, list[tuple[int, int]]()
    for offset, ms in part.filter(begins).select("kafka_offset", times).iter_rows():
        if ms is not None and ms != began:
            began = ms
            starts.append((offset, ms))
    return starts


def _between(part: pl.DataFrame, first: int | None, end: int | None) -> pl.DataFrame:
    """The streamed events of a partition from one offset to before another."""
    rows = part.filter(_streamed())
    rows = rows if first is None else rows.filter(pl.col("kafka_offset") >= first)
    return rows if end is None else rows.filter(pl.col("kafka_offset") < end)


class _Log:
    """A source's log as far as a partition has shown it: how far it rose, and how late it was then."""

    def __init__(self, state: PartitionState | None = None) -> None:
        self._position = (state.commit, state.event) if state else (0, 0)
        self._time, self._name = (state.time_us, state.log) if state else (None, None)

    def resets(self, rows: pl.DataFrame) -> Iterator[tuple[int, int]]:
        """Where another log begins: offset, and its time in milliseconds.

        An event with a lower position than one before it was sent again, unless the source's clock
        has gone on since, or the name of the log is another.
        """
        while len(rows):
            packed = _pack(pl.col("commit_position"), pl.col("event_position"))
            before = _pack(pl.lit(self._position[0]), pl.lit(self._position[1]))
            highest = pl.max_horizontal(packed.cum_max().shift(1), before)
            latest = pl.max_horizontal(
                pl.col("commit_time_us").cum_max().shift(1).forward_fill(),
                pl.lit(self._time, pl.Int64),
            )
            named = pl.coalesce(pl.col("log_name").shift(1), pl.lit(self._name, pl.String))
            falls = (packed < highest) & (
                (pl.col("commit_time_us") > latest) | (pl.col("log_name") != named)
            )
            at = rows.select(falls.fill_null(value=False).arg_true()).to_series()
            if not len(at):
                return
            rows = rows.slice(int(at[0]))
            first = rows.row(0, named=True)
            self._position, self._time, self._name = (0, 0), None, None
            yield first["kafka_offset"], (first["commit_time_us"] or 0) // 1000


def _step(part: pl.DataFrame, first: int, starts: Iterable[tuple[int, int]]) -> pl.DataFrame:
    expression = pl.lit(first, pl.Int64)
    for offset, epoch in starts:
        expression = (
            pl.when(pl.col("kafka_offset") >= offset)
            .then(pl.lit(epoch, pl.Int64))
            .otherwise(expression)
        )
    return part.with_columns(expression.alias("source_epoch"))


def _fill_positions(part: pl.DataFrame, state: PartitionState) -> pl.DataFrame:
    """The highest position before it, for each row that names none; a tombstone's is its delete's."""
    packed = _pack(pl.col("source_commit"), pl.col("source_event"))
    before = _pack(pl.lit(state.commit), pl.lit(state.event))
    at_start = pl.col("source_epoch") == state.epoch
    highest = pl.max_horizontal(
        packed.cum_max().over("source_epoch").forward_fill().over("source_epoch"),
        pl.when(at_start).then(before),
    ).fill_null(0)
    last_key = pl.lit(state.last_key, pl.String)
    first = pl.int_range(pl.len()) == 0
    key_before = pl.when(first).then(last_key).otherwise(pl.col("key").shift(1))
    deleted_before = (
        pl.when(first)
        .then(pl.lit(state.last_was_delete))
        .otherwise(pl.col("operation_type").shift(1) == "DELETE")
    )
    packed_before = (
        pl.when(first)
        .then(_pack(pl.lit(state.last_commit), pl.lit(state.last_event)))
        .otherwise(packed.shift(1))
    )
    follows = (
        (pl.col("operation_type") == "TOMBSTONE")
        & deleted_before
        & pl.col("key").eq_missing(key_before)
    )
    filled = pl.coalesce(packed, pl.when(follows).then(packed_before), highest)
    return (
        part.with_columns(filled.alias("_packed"))
        .with_columns(
            (pl.col("_packed") // _HALF).cast(pl.Int64).alias("source_commit"),
            (pl.col("_packed") % _HALF).cast(pl.Int64).alias("source_event"),
        )
        .drop("_packed")
    )


_HALF = pl.lit(2**63, pl.Int128)


def _pack(commit: pl.Expr, event: pl.Expr) -> pl.Expr:
    """Both numbers as one, so that a running maximum compares commit first."""
    return commit.cast(pl.Int128) * _HALF + event.cast(pl.Int128)


def _state_after(
    part: pl.DataFrame, state: PartitionState, snapshot_ms: int | None
) -> PartitionState:
    last = part.row(-1, named=True)
    current = part.filter(pl.col("source_epoch") == last["source_epoch"])
    commit, event = (
        current.select("source_commit", "source_event")
        .sort("source_commit", "source_event")
        .row(-1)
    )
    if last["source_epoch"] == state.epoch:
        commit, event = max((commit, event), (state.commit, state.event))
    return PartitionState(
        epoch=last["source_epoch"],
        written_ms=state.written_ms
        if last["source_epoch"] == state.epoch
        else int(current["kafka_timestamp"].min() or 0),  # pyright: ignore[reportArgumentType] - a number
        commit=commit,
        event=event,
        snapshot_ms=snapshot_ms,
        in_snapshot=is_full_snapshot(last["snapshot"]),
        snapshot_at=taken_at(part) or state.snapshot_at,
        streamed_ms=max(state.streamed_ms, newest_streamed(part)),
        **log_after(current, state if last["source_epoch"] == state.epoch else PartitionState()),
        last_key=last["key"],
        last_was_delete=last["operation_type"] == "DELETE",
        last_commit=last["source_commit"],
        last_event=last["source_event"],
    )


def log_after(current: pl.DataFrame, state: PartitionState) -> dict[str, Any]:
    """What the epoch's events tell: latest source time, name of the log, whether its snapshot ended."""
    streamed = current.filter(_streamed()).select("commit_time_us", "log_name")
    times = [time for time in (streamed["commit_time_us"].max(), state.time_us) if time is not None]
    names = streamed["log_name"].drop_nulls()
    ended = len(streamed) > 0 or current.select(_is_last().any()).item()
    return {
        "time_us": max(times, default=None),  # pyright: ignore[reportArgumentType] - numbers
        "log": names[-1] if len(names) else state.log,
        "done": state.done or bool(ended),
    }


def taken_at(part: pl.DataFrame) -> int | None:
    """The log position that the last row of a full snapshot names; None where there is none."""
    named = part.select(pl.col("event_position").filter(_is_full()).drop_nulls().last())
    return named.item() if len(named) else None


def newest_streamed(part: pl.DataFrame) -> int:
    """When the producer had written the newest streamed event, in milliseconds; 0 where there is none."""
    return part.select(pl.col("kafka_timestamp").filter(_streamed()).max()).item() or 0


def ended(states: Iterable[PartitionState], epoch: int) -> bool:
    """Whether partitions that were all read show the end of an epoch's snapshot.

    A row says that it is the last, or an event was streamed after the first row, in any partition.
    """
    states = list(states)
    began = min((state.written_ms for state in states if state.epoch == epoch), default=None)
    return began is not None and any(
        (state.done and state.epoch == epoch) or state.streamed_ms > began for state in states
    )


def exceeds(pairs: Sequence[tuple[pl.Expr, pl.Expr]]) -> pl.Expr:
    """Whether the left numbers, taken together, are larger than the right; the first pair weighs most."""
    verdict = pl.lit(value=False)
    for left, right in reversed(pairs):
        verdict = pl.when(left == right).then(verdict).otherwise(left > right)
    return verdict


def in_order(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The rows sorted by some columns of numbers; to see that they stand so costs a tenth of sorting them."""
    falls = exceeds([(pl.col(name).shift(1), pl.col(name)) for name in columns])
    nulls = pl.any_horizontal(pl.col(name).is_null().any() for name in columns)
    return rows.sort(columns) if rows.select(falls.any() | nulls).item() else rows


def is_newer(left: str, right: str) -> pl.Expr:
    """Whether the event whose order columns begin with `left` is newer than that with `right`.

    A null on the right is older than everything.
    """
    pairs = [(pl.col(f"{left}{name}"), pl.col(f"{right}{name}")) for name in ORDER]
    return pl.col(f"{right}{ORDER[0]}").is_null() | exceeds(pairs)


def is_after(position: Sequence[int]) -> pl.Expr:
    """Whether an event is newer than a truncate's position."""
    return exceeds(
        list(
            zip(
                _beside_truncate([pl.lit(value) for value in position]),
                [pl.lit(value) for value in position],
                strict=True,
            )
        )
    )


def is_before(position: Sequence[int]) -> pl.Expr:
    """Whether an event is older than a truncate's position."""
    values = [pl.lit(value) for value in position]
    return exceeds(list(zip(values, _beside_truncate(values), strict=True)))


def _beside_truncate(position: Sequence[pl.Expr]) -> list[pl.Expr]:
    """An event's position to compare with a truncate's, which may be of another partition.

    A partition that a snapshot sent no row to knows no epoch (0): there the log position decides.
    """
    epoch = pl.when(pl.col(ORDER[0]) == 0).then(position[0]).otherwise(pl.col(ORDER[0]))
    return [epoch, *(pl.col(name) for name in ORDER[1:])]
