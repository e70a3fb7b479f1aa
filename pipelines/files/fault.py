"""What is wrong with a file: where, why, and what whoever made it does next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import polars as pl

#: So many are told of one file; what is wrong with a whole column is said often enough by then.
MOST_FAULTS = 100

FAULTS = pl.List(
    pl.Struct(
        {"line": pl.Int64(), "column": pl.String(), "reason": pl.String(), "next_step": pl.String()}
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault; `line` counts from 1 as editors do, None where the whole file is meant."""

    reason: str
    next_step: str
    line: int | None = None
    column: str | None = None

    @property
    def told(self) -> str:
        """Where and why, in a line."""
        where = [f"line {self.line}"] if self.line is not None else []
        where += [f"column {self.column}"] if self.column is not None else []
        return f"{', '.join(where)}: {self.reason}" if where else self.reason

    def __str__(self) -> str:
        return f"{self.told}\n    {self.next_step}"


class Unreadable(Exception):  # noqa: N818 - a finding about a file, which its reader returns in the end
    """A file cannot be taken apart into rows: its faults."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def report(name: str, faults: Sequence[Fault]) -> str:
    """What somebody reads who is to mend a file."""
    many = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    more = " or more; the first are told" if len(faults) >= MOST_FAULTS else ""
    told = "\n".join(f"  {fault}" for fault in faults)
    return f"{name} was set aside whole, no row of it was taken: {many}{more}\n{told}\n"


def as_rows(faults: Sequence[Fault]) -> list[dict[str, object]]:
    """The faults as values of `FAULTS`."""
    return [asdict(fault) for fault in faults]
