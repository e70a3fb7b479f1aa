"""What lineage refuses: it says what and where in the SQL, and never guesses."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from sqlglot import exp


class LineageError(ValueError):
    """Lineage that cannot be known for certain: `message` says why, `hint` what to write instead.

    `line` and `column` (both from 1) point into the SQL; both are None where no SQL is at fault.
    """

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
    ) -> None:
        where = "" if line is None else f"line {line}, column {column}: "
        super().__init__(f"{where}{message}" + (f"\n  Hint: {hint}" if hint else ""))
        self.message = message
        self.hint = hint
        self.line = line
        self.column = column


def position(sql: str, offset: int) -> tuple[int, int]:
    """The line and column, both from 1, of the character at `offset`."""
    before = sql[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


def place(sql: str, node: exp.Expr) -> tuple[int | None, int | None]:
    """The line and column where `node` begins in `sql`; (None, None) if the parser kept none."""
    starts = [start for part in node.walk() if (start := part.meta.get("start")) is not None]
    return position(sql, min(starts)) if starts else (None, None)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint naming the nearest of `known`, else all of them if they are few."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {', '.join(near)}?"
    return f"known here: {', '.join(names)}" if 0 < len(names) <= 12 else None
