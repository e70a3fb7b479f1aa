"""A connection that counts: what each committed transaction changed, by table and operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from psycopg2 import extensions
from psycopg2.errors import DeadlockDetected

KEYS = {
    "customers": "customer_id",
    "products": "product_id",
    "orders": "order_id",
    "order_items": "order_item_id",
    "payments": "payment_id",
}


class RegretError(Exception):
    """A turn decides to roll its transaction back."""


class Desk:
    """A connection, its transactions, and counts of what they committed."""

    def __init__(self, db: extensions.connection, name: str) -> None:
        self.name = name
        self.changes: Counter[tuple[str, str]] = Counter()
        self.committed = self.rolled_back = 0
        self._db, self._cursor = db, db.cursor()
        self._pending: Counter[tuple[str, str]] = Counter()

    def transact(self, act: Callable[[], None]) -> bool:
        """Does it in a transaction of its own; whether that was committed and not rolled back."""
        try:
            act()
        except (RegretError, DeadlockDetected):
            self._db.rollback()
            self._pending.clear()
            self.rolled_back += 1
            return False
        self._commit()
        return True

    def _commit(self) -> None:
        """Commits what is done so far; what follows belongs to the next transaction."""
        self._db.commit()
        self.changes += self._pending
        self._pending.clear()
        self.committed += 1

    def _keys(self, table: str) -> list[str]:
        key = KEYS[table]
        self._cursor.execute(f"select {key} from {table} order by {key}")
        return [row[0] for row in self._cursor.fetchall()]

    def _run(self, table: str, ops: str, sql: str, values: list[object]) -> None:
        """Executes a statement; each row it changes streams `ops`, if the transaction commits."""
        self._cursor.execute(sql, values)
        for op in ops:
            self._pending[table, op] += self._cursor.rowcount

    def _insert(self, table: str, **row: object) -> None:
        row |= {"created_by": self.name, "updated_by": self.name}
        marks = ", ".join(["%s"] * len(row))
        sql = f"insert into {table} ({', '.join(row)}) values ({marks})"
        self._run(table, "c", sql, list(row.values()))

    def _update(self, table: str, key: str, **row: object) -> None:
        sets = "".join(f"{name} = %s, " for name in row)
        sql = (
            f"update {table} set {sets}version = version + 1, updated_at = clock_timestamp(),"
            f" updated_by = %s where {KEYS[table]} = %s"
        )
        self._run(table, "u", sql, [*row.values(), self.name, key])

    def _delete(self, table: str, by: str, key: str) -> None:
        self._run(table, "d", f"delete from {table} where {by} = %s", [key])
