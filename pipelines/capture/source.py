"""What landing asks of a source of records, be it Kafka or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from pipelines.capture.records import Notice, Origin, Partition, RecordBatch

#: Answers where to go on in each partition, given where its records are from; None or absent: at
#: the first offset there is.
Seek = Callable[[Origin, Sequence[Partition]], Mapping[Partition, int | None]]


class Source(Protocol):
    """Batches to iterate once, inside a `with` block."""

    #: All notices so far; a batch carries those that are new with it.
    notices: list[Notice]

    def __enter__(self) -> Self:
        """Opens it."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes it."""
        ...

    def __iter__(self) -> Iterator[RecordBatch]:
        """The batches; one is handed out when the one before it is done with."""
        ...

    def stop(self) -> None:
        """Ends iteration after what is in hand; may be called from a signal handler."""
        ...

    def report(self, next_offsets: Mapping[Partition, int]) -> None:
        """Says what is safely in the lake, for lag tools only."""
        ...
