"""What a shop's database may do between two looks at it: every awkward transaction by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise

import psycopg2
from psycopg2.errors import UniqueViolation

from tests.stack.clerk import Clerk
from tests.stack.connect import TABLES
from tests.stack.desk import KEYS, RegretError

#: A turn is only a good one when there is something to take it on.
FEWEST_ROWS = 6

#: Turns that fit into a transaction with others.
PARTS = (
    "place_order",
    "move_order_on",
    "change_note",
    "new_customer",
    "edit_customer",
    "reprice_product",
    "cancel_order",
    "rekey_order",
    "insert_and_delete",
    "change_again_and_again",
    "break_a_rule",
    "mend",
    "swap_keys",
    "touch_beside_a_long_note",
)

#: Turns that keep to the orders of their clerk, so that two open transactions never wait.
ALONE = ("place_order", "move_order_on", "change_note", "pay_order", "cancel_order", "rekey_order")


class Mischief(Clerk):
    """A clerk who also does in one transaction what few applications do."""

    #: A connector that writes bare rows does not tell of truncates, so a shop behind one has none.
    truncates: bool = True

    def transact(self, act: Callable[[], None]) -> bool:
        """As a desk does; a key that is taken already is one more reason to roll back."""

        def attempt() -> None:
            try:
                act()
            except UniqueViolation as error:
                raise RegretError from error

        return super().transact(attempt)

    def do(self, turn: str) -> None:
        """Does a turn as a part of the transaction that is open."""
        getattr(self, f"_{turn}")()

    def restock(self) -> None:
        """Learns what is there, and adds some where a truncate has left too little."""
        self.learn(0, 1)
        for turn, what in (
            ("new_customer", "customers"),
            ("new_product", "products"),
            ("place_order", "orders"),
        ):
            while len(getattr(self, what)) < FEWEST_ROWS:
                self.take(turn)

    def _leave_no_table_empty(self) -> None:
        """A row in each table that has none."""
        self.restock()
        if not self._keys("order_items"):
            self._order(self.some.id())
        if not self._keys("payments"):
            self._pay(self._any_order(), self.some.money(), "EUR")

    def _basket(self) -> None:
        """Many tables and many kinds of change in one transaction."""
        for _ in range(self.rng.randint(3, 9)):
            self.do(self.rng.choice(PARTS))

    # ---- KEYS ---- #

    def _move(self, table: str, old: str, new: str) -> None:
        key = KEYS[table]
        self._run(table, "dc", f"update {table} set {key} = %s where {key} = %s", [new, old])

    def _some_keys(self, table: str, count: int) -> list[str]:
        keys = self._keys(table)
        return self.rng.sample(keys, min(count, len(keys)))

    def _any_table(self) -> str:
        return self.rng.choice(TABLES)

    def _swap_keys(self) -> None:
        """Two or more rows pass their keys on in a circle, by way of one that nobody keeps."""
        table = self._any_table()
        keys = self._some_keys(table, self.rng.choice((2, 2, 3, 4)))
        if len(keys) < 2:
            raise RegretError
        aside = self.some.id()
        self._move(table, keys[0], aside)
        for free, taken in pairwise(keys):
            self._move(table, taken, free)
        self._move(table, aside, keys[-1])

    def _take_a_freed_key(self) -> None:
        """A row is deleted and another row or a new one gets its key, at once or in the next transaction."""
        keys = self._some_keys("orders", 2)
        if len(keys) < 2:
            raise RegretError
        freed, other = keys
        self._run("orders", "d", "delete from orders where order_id = %s", [freed])
        if self.some.coin():
            self._commit()
        if self.some.coin():
            self._move("orders", other, freed)
            if self.some.coin():
                self._order(other)
        else:
            self._order(freed)

    def _there_and_back(self) -> None:
        """A key is left and taken again by the same row."""
        table = self._any_table()
        for key in self._some_keys(table, 1):
            away = self.some.id()
            self._move(table, key, away)
            if self.some.coin():
                self._commit()
            self._move(table, away, key)

    def _rekey_all(self) -> None:
        """Every key of a table changes in one statement."""
        table = self.rng.choice(("payments", "order_items", "orders"))
        key = KEYS[table]
        salt = str(self.rng.random())
        self._run(table, "dc", f"update {table} set {key} = md5({key}::text || %s)::uuid", [salt])

    # ---- MANY ROWS ---- #

    def _many_rows(self) -> None:
        """Thousands inserted, changed and mostly deleted again, in one transaction or in three."""
        count, salt = self.rng.randint(1000, 4000), str(self.rng.random())
        apart = self.some.coin()
        self._run(
            "payments",
            "c",
            "insert into payments (payment_id, order_id, amount, currency, method, status,"
            " provider_reference, created_by, updated_by)"
            " select md5(n::text || %s)::uuid, %s, (n %% 1000) / 100.0, 'EUR', 'CARD', 'CAPTURED',"
            " %s, %s, %s from generate_series(1, %s) n",
            [salt, self._any_order(), f"many-{salt}", self.name, self.name, count],
        )
        if apart:
            self._commit()
        many: list[object] = [f"many-{salt}"]
        self._run(
            "payments",
            "u",
            "update payments set amount = amount + 1, version = version + 1"
            " where provider_reference = %s",
            many,
        )
        if apart:
            self._commit()
        if self.rng.random() < 0.3:
            raise RegretError
        self._run(
            "payments",
            "d",
            "delete from payments where provider_reference = %s and amount < 10.8",
            many,
        )

    def _rewrite(self) -> None:
        """Every row of a table changes; long notes are left alone."""
        table = self._any_table()
        self._run(table, "u", f"update {table} set version = version + 1", [])

    def _empty(self) -> None:
        """Every row of a table is deleted, one event each."""
        table = self.rng.choice(("payments", "order_items", "orders", "products"))
        self._run(table, "d", f"delete from {table}", [])

    # ---- LONG VALUES ---- #

    def _touch_beside_a_long_note(self) -> None:
        """A long note, changes beside it, a new key for it, and a change after that."""
        order = self._any_order()
        if self.some.coin():
            self._update("orders", order, note=self.some.text(3000))
        self._update("orders", order, status="SHIPPED")
        if self.some.coin():
            key = self.some.id()
            self._move("orders", order, key)
            self._update("orders", key, discount_amount=self.some.money("0.00", "9.99"))
            if order in self.orders:
                self.orders[self.orders.index(order)] = key

    def _lengthen_and_shorten(self) -> None:
        """A note goes from long to short to nothing to long, a transaction each or all in one."""
        order, apart = self._any_order(), self.some.coin()
        for note in (self.some.text(4000), "short", None, self.some.text(2600)):
            self._update("orders", order, note=note)
            self._update("orders", order, status="PENDING")
            if apart:
                self._commit()

    # ---- TRUNCATES ---- #

    def _truncate(self) -> None:
        """One or two tables emptied, with rows that came before and after in the same transaction."""
        if not self.truncates:
            raise RegretError
        tables = self.rng.sample(("payments", "order_items", "orders", "products"), 2)
        tables = tables[: self.rng.choice((1, 1, 2))]
        if self.some.coin():
            self._order(self.some.id())
        self._run_truncate(tables)
        if self.some.coin():
            self._order(self.some.id())
        if self.rng.random() < 0.2:
            self._run_truncate(tables)
        if self.rng.random() < 0.2:
            raise RegretError

    def _run_truncate(self, tables: Sequence[str]) -> None:
        self._cursor.execute(f"truncate {', '.join(tables)}")
        for table in tables:
            self._pending[table, "t"] += 1

    # ---- SAVEPOINTS ---- #

    def _nested_savepoints(self) -> None:
        """What is rolled back to an inner savepoint, and to an outer one over a released inner one."""
        self._cursor.execute("savepoint outer_one")
        self._order(self.some.id())
        self._cursor.execute("savepoint inner_one")
        self._update("orders", self._any_order(), status="CANCELLED")
        back_to = self.rng.choice(("inner_one", "outer_one"))
        if self.some.coin():
            self._cursor.execute("release savepoint inner_one")
            back_to = "outer_one"
        self._cursor.execute(f"rollback to savepoint {back_to}")
        if back_to == "outer_one" and self.truncates and self.some.coin():
            self._cursor.execute("truncate orders")
            self._cursor.execute("rollback to savepoint outer_one")
        self._pending.clear()
        self.orders = self._keys("orders")
        self._update("orders", self._any_order(), status="DELIVERED")


def interleave(dsn: str, seed: str, amid: Callable[[], None] = lambda: None) -> list[Mischief]:
    """Two open transactions take turns on rows of their own; the one that began first commits last.

    `amid` happens when one is committed and the other is not.
    """
    with closing(psycopg2.connect(dsn)) as one, closing(psycopg2.connect(dsn)) as other:
        both = [
            Mischief(db, name, random.Random(f"{seed} {name}"))
            for db, name in ((one, "first"), (other, "second"))
        ]
        both[0].restock()
        for number, clerk in enumerate(both):
            clerk.learn(number, 2)
        first, second = both

        def begin_first_and_end_last() -> None:
            first.do("move_order_on")
            second.transact(lambda: _alternate(first, second))
            amid()
            first.do("change_note")

        first.transact(begin_first_and_end_last)
        return both


def _alternate(first: Mischief, second: Mischief) -> None:
    for _ in range(second.rng.randint(1, 4)):
        second.do(second.rng.choice(ALONE))
        first.do(first.rng.choice(ALONE))
