"""A story told to a real database: its transactions as they overlap, and before them as many rows as wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from assets.demo import STORIES
from assets.demo_source import Database, Row, Step
from assets.generator.copies import LONG_AGO, copied, copies_for, templates
from assets.generator.databases import Refused, SourceError, Target, open_target
from pipelines.contract import did_you_mean, load_catalog
from pipelines.errors import SettingsError

_ASSETS = Path(__file__).resolve().parents[1]
_WEEK = timedelta(days=7)
#: So many different stories are copied, where there is room for them.
_STORIES = 4


@dataclass(frozen=True, slots=True)
class Generated:
    """What was written: rows by table, changes by (table, op), and what the database refused and why."""

    rows: Counter[str] = field(default_factory=Counter[str])
    changes: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    refused: Counter[str] = field(default_factory=Counter[str])


def generate(
    domain: str,
    url: str,
    *,
    seed: int = 7,
    size: int = 0,
    until: datetime | None = None,
    after_load: Callable[[], None] = lambda: None,
) -> Generated:
    """Creates a domain's tables, fills them with about `size` rows of the years before, and tells its story.

    The same arguments give the same rows. The story ends less than a week before `until` (now), on
    the weekday it always does. `after_load` is called between the rows that are simply there and
    the story, for a connector to take its first snapshot.

    Raises:
        SettingsError: there is no story or no such database of this domain.
        SourceError: the database does not answer, or has a table of the domain already.
    """
    told = _told(domain, seed)
    target = open_target(url, told.tables)
    if there := target.existing():
        raise SourceError(
            f"the database has a table '{there[0]}' already",
            hint="name an empty one; what is there is not touched",
        )
    target.create(_script(domain, target).read_text("utf-8"))
    end = until or datetime.now(UTC)
    done, shift = Generated(), (end - told.clock) // _WEEK * _WEEK
    if size:
        _fill(target, domain, seed, size, shift, end, done)
    teller = _Teller(target, shift, (told.clock - LONG_AGO).date(), done)
    with teller.opened:
        teller.tell(told.script[:1])
        after_load()
        teller.tell(told.script[1:])
    return done


def _told(domain: str, seed: int) -> Database:
    if domain not in STORIES:
        raise SettingsError(f"there is no story of '{domain}'", hint=did_you_mean(domain, STORIES))
    told = STORIES[domain].tell(seed)
    if not isinstance(told, Database):
        raise SettingsError(
            f"{domain} is told by files and streams, not by a database",
            hint=f"medallion demo --domain {domain} shows them",
        )
    return told


def _script(domain: str, target: Target) -> Path:
    script = _ASSETS / domain / "source" / target.script
    if not script.is_file():
        others = ", ".join(sorted(path.stem for path in script.parent.glob("*.sql")))
        raise SettingsError(
            f"{domain} has no tables for {target.script.removesuffix('.sql')}",
            hint=f"there are some for {others}" if others else f"write {script}",
        )
    return script


def _fill(
    target: Target, domain: str, seed: int, size: int, shift: timedelta, end: datetime, done: Generated
) -> None:  # fmt: skip
    """The years before, copied from a few tellings of the story."""
    catalog, tellings, nth = load_catalog(_ASSETS), 1, 0
    with closing(target.connect()) as connection:
        while nth < tellings:
            story = _told(domain, seed * 1000 + nth)
            accepted = {t: target.accepted(t, rows.values()) for t, rows in story.truth.items()}
            made = templates(story, catalog, domain, accepted, nth)
            count = copies_for(size, made)
            tellings = min(_STORIES, count)
            share = count // tellings + (nth < count % tellings)
            pieces = copied(made, share, nth=nth, story_shift=shift, end=end, seed=seed)
            for table, rows in pieces:
                target.copy(connection, table, rows)
                done.rows[table] += len(rows)
            nth += 1


class _Teller:
    """Connections that say a story's transactions, each on its own from its begin to its commit."""

    def __init__(self, target: Target, shift: timedelta, long_ago: date, done: Generated) -> None:
        self.opened, self.done = ExitStack(), done
        self._target, self._shift, self._long_ago = target, shift, long_ago
        self._idle, self._busy = list[Any](), dict[int, tuple[Any, str, Sequence[Any]]]()
        self._held: dict[str, dict[object, Row]] = {table: {} for table in target.tables}

    def tell(self, script: Sequence[Step]) -> None:
        """Does each step; a transaction that the database refuses is rolled back and counted."""
        for step in script:
            match step.act:
                case "load":
                    self._begin(0, step.changes)
                    self._commit(0, count_rows=True)
                case "begin":
                    self._begin(step.transaction, step.changes)
                case "commit":
                    self._commit(step.transaction)
                case "message":
                    connection = self._connection()
                    self._target.message(connection, step.text)
                    self._idle.append(connection)
                case "rekey" | "truncate":
                    self._alone(step)

    def _connection(self) -> Any:
        if self._idle:
            return self._idle.pop()
        return self.opened.enter_context(closing(self._target.connect()))

    def _begin(self, transaction: int, changes: Sequence[tuple[str, str, Row]]) -> None:
        connection = self._connection()
        told = [(table, op, self._moved(row)) for table, op, row in changes]
        why = self._attempt(connection, lambda cursor: [self._change(cursor, *change) for change in told])  # fmt: skip
        self._busy[transaction] = (connection, why, told)

    def _attempt(self, connection: Any, act: Callable[[Any], object]) -> str:
        """Why the database refuses it; nothing when it does not."""
        try:
            with connection.cursor() as cursor:
                act(cursor)
        except Refused as error:
            connection.rollback()
            return _reason(error)
        return ""

    def _commit(self, transaction: int, *, count_rows: bool = False) -> None:
        connection, why, told = self._busy.pop(transaction)
        connection.commit()
        self._idle.append(connection)
        if why:
            self.done.refused[why] += 1
            return
        for table, op, row in told:
            if count_rows:
                self.done.rows[table] += 1
            else:
                self.done.changes[table, op] += 1
            key = row[self._target.tables[table].key]
            if op == "d":
                self._held[table].pop(key, None)
            else:
                self._held[table][key] = row

    def _change(self, cursor: Any, table: str, op: str, row: Row) -> None:
        key = self._target.tables[table].key
        if op == "c":
            self._target.insert(cursor, table, row)
        elif op == "d":
            self._target.delete(cursor, table, row[key])
        else:
            old = self._held[table].get(row[key], {})
            if new := {n: v for n, v in row.items() if n not in old or old[n] != v}:
                self._target.update(cursor, table, row[key], new)

    def _alone(self, step: Step) -> None:
        """A key that changes, or a table that is emptied: a transaction of one statement."""
        target, connection = self._target, self._connection()
        if step.act == "truncate":
            why = self._attempt(connection, lambda cursor: target.truncate(cursor, step.text))
            self._held[step.text].clear()
            told, op = step.text, "t"
        else:
            told, op = step.changes[0][0], "k"
            row, key = step.changes[0][2], target.tables[told].key
            old = self._held[told].pop(step.old_key, {})
            self._held[told][row[key]] = {**old, key: row[key]}
            why = self._attempt(connection, lambda cursor: target.update(cursor, told, step.old_key, {key: row[key]}))  # fmt: skip
        connection.commit()
        self._idle.append(connection)
        self.done.refused.update([why] if why else [])
        self.done.changes.update([] if why else [(told, op)])

    def _moved(self, row: Row) -> Row:
        return {name: self._at(value) for name, value in row.items()}

    def _at(self, value: object) -> object:
        """Times as much later as the story is; of dates, a birthday stays."""
        if isinstance(value, datetime) or (isinstance(value, date) and value >= self._long_ago):
            return value + self._shift
        return value


def _reason(error: BaseException) -> str:
    """The kind of error alone: its text may quote the row."""
    return getattr(error, "pgcode", None) or type(error).__name__
