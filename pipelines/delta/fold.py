"""Folding: files with many dead rows, and many small files, written once more without the dead.

The rows stay what they are, so that the commit says `dataChange: false` (Delta protocol, "Add File and
Remove File"): readers of changes see nothing. Writers go on beside it: a fold stands aside for anybody
who has touched one of its files, and a writer that has marked rows in a folded file starts again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.delta.commit import commit_rewrite
from pipelines.delta.rows import live_rows
from pipelines.delta.snapshot import ActiveFile, Snapshot

#: A file that holds fewer rows is small; so many small ones are worth one larger.
SMALL_ROWS, MANY_SMALL = 250_000, 8
#: Readers pay for dead rows; beyond this share of a file they are taken out.
MOST_DEAD = 0.2
#: Rows folded at once, which bounds memory: some 200 bytes each.
_ROWS_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What a fold did: files before and after, rows written, and dead rows left behind."""

    files: int = 0
    into: int = 0
    rows: int = 0
    dead: int = 0


def fold(
    snapshot: Snapshot,
    *,
    stats_columns: Sequence[str],
    small_rows: int = SMALL_ROWS,
    many_small: int = MANY_SMALL,
    most_dead: float = MOST_DEAD,
) -> Folded:
    """Rewrites what is worth it, at most two million rows a call; nothing where nothing is.

    Raises:
        ConflictError: when somebody touched one of the files meanwhile; nothing was written.
        LakeError: when the store refuses.
    """
    chosen = _chosen(snapshot, small_rows, many_small, most_dead)
    if not chosen:
        return Folded()
    part = replace(snapshot, files=tuple(chosen))
    rows = live_rows(part, list(snapshot.schema)).select(list(snapshot.schema)).collect()
    into = commit_rewrite(snapshot, chosen, rows, stats_columns)
    held = sum(file.num_records for file in chosen)
    return Folded(files=len(chosen), into=into, rows=len(rows), dead=held - len(rows))


def _chosen(
    snapshot: Snapshot, small_rows: int, many_small: int, most_dead: float
) -> list[ActiveFile]:
    """The files to fold, smallest first."""
    dead = [file for file in snapshot.files if _dead(file) > most_dead * file.num_records]
    small = [file for file in snapshot.files if file.num_records < small_rows]
    worth = {file.path: file for file in [*dead, *(small if len(small) >= many_small else ())]}
    chosen, rows = list[ActiveFile](), 0
    for file in sorted(worth.values(), key=lambda each: each.num_records):
        rows += file.num_records - _dead(file)
        if chosen and rows > _ROWS_AT_ONCE:
            break
        chosen.append(file)
    return chosen


def _dead(file: ActiveFile) -> int:
    return file.vector.cardinality if file.vector else 0
