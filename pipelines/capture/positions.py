"""Where reading starts, stands and ends in each partition: plain arithmetic, no Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipelines.capture.records import Notice, NoticeKind, Partition
from pipelines.errors import OffsetsLostError


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a partition holds: offsets from `low` up to, not including, `high`.

    `end` is where a reader can get now: below `high` while a transaction is open.
    """

    low: int
    high: int
    end: int


def starts(
    wanted: Mapping[Partition, int | None],
    spans: Mapping[Partition, Span],
    *,
    accept_loss: bool = False,
) -> tuple[dict[Partition, int], list[Notice]]:
    """Where to start in each partition: as wanted, or at its first offset where nothing is wanted.

    With `accept_loss` a partition that no longer has the wanted offset starts at its first one, and
    a notice says what is missing.

    Raises:
        OffsetsLostError: naming every partition that no longer has the offset wanted of it.
    """
    begin: dict[Partition, int] = {}
    losses: list[Notice] = []
    for partition, span in spans.items():
        position = wanted.get(partition)
        loss = None if position is None else _loss(partition, position, span)
        if loss is not None:
            losses.append(loss)
        begin[partition] = span.low if position is None or loss is not None else position
    if losses and not accept_loss:
        raise OffsetsLostError(
            "\n".join(str(loss) for loss in losses),
            hint="to go on with what is left and have the loss recorded, say --accept-loss",
        )
    return begin, losses


def _loss(partition: Partition, wanted: int, span: Span) -> Notice | None:
    if wanted < span.low:
        return Notice(
            kind=NoticeKind.LOST,
            topic=partition.topic,
            partition=partition.partition,
            count=span.low - wanted,
            detail=f"offsets {wanted} to {span.low - 1} were removed from the broker before they were read",
        )
    if wanted > span.high:
        return Notice(
            kind=NoticeKind.LOST,
            topic=partition.topic,
            partition=partition.partition,
            count=0,
            detail=f"the topic ends before offset {span.high}, but it was read up to {wanted}: it was cut, or made again",
        )
    return None


class Progress:
    """How far each assigned partition was read; a batch at a time."""

    def __init__(self) -> None:
        self._next: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._began: dict[Partition, int] = {}
        self._lost: dict[Partition, int] = {}
        self._done: set[Partition] = set()

    def begin(self, partition: Partition, start: int, end: int | None = None) -> None:
        """Reading starts at `start`; with an `end`, offsets from there on are not wanted."""
        self.forget([partition])
        self._next[partition] = start
        if end is not None:
            self._ends[partition] = end
        self._mark_done(partition)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These partitions are no longer ours."""
        for partition in partitions:
            for known in (self._next, self._ends, self._began, self._lost):
                known.pop(partition, None)
            self._done.discard(partition)

    def position(self, partition: Partition) -> int | None:
        """The next offset to read; None for a partition that is not ours."""
        return self._next.get(partition)

    def wants(self, partition: Partition, offset: int) -> bool:
        """Whether a record belongs to what is being read: ours, not yet read, and before the end."""
        position = self._next.get(partition)
        if position is None or offset < position:
            return False
        end = self._ends.get(partition)
        return end is None or offset < end

    def passed(self, partition: Partition, offset: int) -> None:
        """Everything before `offset` was read, or holds no record."""
        position, end = self._next.get(partition), self._ends.get(partition)
        if position is None:
            return
        reached = offset if end is None else min(offset, end)
        if reached > position:
            self._began.setdefault(partition, position)
            self._next[partition] = reached
            self._mark_done(partition)

    def ended(self, partition: Partition, offset: int) -> None:
        """The broker has nothing more at `offset` now; what bounded reading came for is read."""
        self.passed(partition, offset)
        if partition in self._ends:
            self._done.add(partition)

    def jumped(self, partition: Partition, offset: int) -> None:
        """Reading goes on at `offset`, since what was wanted is gone."""
        position = self._next[partition]
        if offset >= position:
            self._began.setdefault(partition, position)
            self._lost[partition] = self._lost.get(partition, 0) + offset - position
        else:  # the topic was cut or made again: it is read from its first offset
            self._began[partition] = offset
            self._done.discard(partition)
        self._next[partition] = offset
        self._mark_done(partition)

    def done(self, partition: Partition) -> bool:
        """Whether the partition reached its end."""
        return partition in self._done

    @property
    def topics(self) -> set[str]:
        """Topics of which partitions are ours."""
        return {partition.topic for partition in self._next}

    @property
    def moved(self) -> bool:
        """Whether any position changed since the last `turn`."""
        return bool(self._began)

    @property
    def finished(self) -> bool:
        """Whether every partition reached its end."""
        return self._done >= self._next.keys()

    def turn(
        self, counts: Mapping[Partition, int]
    ) -> tuple[dict[Partition, int], dict[Partition, int], list[Notice]]:
        """Start and next offset of each partition that moved since the last turn, and its empty offsets.

        `counts` are the records read of each partition. Transaction markers, aborted records and
        compaction leave offsets without a record: normal, but counted, so that a loss would show.
        """
        began, self._began = self._began, {}
        lost, self._lost = self._lost, {}
        nexts = {partition: self._next[partition] for partition in began}
        gaps: list[Notice] = []
        for partition, start in began.items():
            known = counts.get(partition, 0) + lost.get(partition, 0)
            empty = nexts[partition] - start - known
            if empty > 0:
                gaps.append(_gap(partition, start, nexts[partition], empty))
        return began, nexts, gaps

    def _mark_done(self, partition: Partition) -> None:
        end = self._ends.get(partition)
        if end is not None and self._next[partition] >= end:
            self._done.add(partition)


def _gap(partition: Partition, start: int, end: int, empty: int) -> Notice:
    return Notice(
        kind=NoticeKind.GAP,
        topic=partition.topic,
        partition=partition.partition,
        count=empty,
        detail=f"{empty} of the offsets {start} to {end - 1} hold no record (transactions or compaction)",
    )
