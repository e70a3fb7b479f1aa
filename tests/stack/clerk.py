"""A clerk of the shop: takes turns at random, the awkward ones included."""

from __future__ import annotations

import random
import time
from collections import Counter
from decimal import Decimal

from psycopg2 import extensions

from tests.stack.desk import RegretError
from tests.stack.trade import STATUSES, Trade

# How often each turn is taken, of the sum of all.
WEIGHTS = {
    "place_order": 30,
    "move_order_on": 14,
    "pay_order": 10,
    "change_note": 6,
    "new_customer": 5,
    "edit_customer": 6,
    "new_product": 1,
    "reprice_product": 5,
    "cancel_order": 4,
    "leave_as_customer": 1,
    "rekey_order": 3,
    "delete_and_reinsert": 3,
    "insert_and_delete": 2,
    "change_nothing": 3,
    "change_again_and_again": 3,
    "change_many_rows": 2,
    "regret": 5,
    "regret_a_part": 5,
    "break_a_rule": 6,
    "mend": 3,
    "dawdle": 2,
}


class Clerk(Trade):
    """Does in a transaction what a consumer of changes easily gets wrong."""

    def __init__(self, db: extensions.connection, name: str, rng: random.Random) -> None:
        super().__init__(db, name, rng)
        self.turns: Counter[str] = Counter()

    def next_turn(self) -> str:
        """Name of the turn to take next."""
        return self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]

    def take(self, turn: str) -> None:
        """Takes a turn; one that is rolled back is forgotten."""
        self.turns[turn] += 1
        remembered = self.orders.copy(), self._former_orders.copy()
        if not self.transact(getattr(self, f"_{turn}")):
            self.orders, self._former_orders = remembered

    def _rekey_order(self) -> None:
        """A new primary key, at times one that a cancelled order had before."""
        order = self._any_order()
        key = (
            self._former_orders.pop()
            if self._former_orders and self.some.coin()
            else self.some.id()
        )
        self._run(
            "orders",
            "dc",
            "update orders set order_id = %s, version = version + 1 where order_id = %s",
            [key, order],
        )
        for table in ("order_items", "payments"):
            self._run(
                table, "u", f"update {table} set order_id = %s where order_id = %s", [key, order]
            )
        self.orders[self.orders.index(order)] = key
        if self.some.coin():  # the key just left is taken again, in the same transaction
            self._order(order)
        else:
            self._former_orders.append(order)

    def _delete_and_reinsert(self) -> None:
        """One key deleted and inserted, in one transaction or in two."""
        order = self._any_order()
        self._cancel(order)
        if self.some.coin():
            self._commit()
        self._order(order)

    def _insert_and_delete(self) -> None:
        order = self.some.id()
        self._order(order)
        self._cancel(order)
        if self.some.coin():
            self._order(order)

    def _change_nothing(self) -> None:
        order = self._any_order()
        sql = "update orders set status = status where order_id = %s"
        self._run("orders", "u", sql, [order])

    def _change_again_and_again(self) -> None:
        order = self._any_order()
        for status in STATUSES:
            self._update("orders", order, status=status)
        self._update("orders", order, discount_amount=self.some.money("0.00", "9.99"))

    def _change_many_rows(self) -> None:
        """One statement, many rows; only of our own orders, so that clerks do not deadlock."""
        some = self.rng.sample(self.orders, min(5, len(self.orders)))
        sql = "update order_items set version = version + 1 where order_id = any(%s::uuid[])"
        self._run("order_items", "u", sql, [some])

    def _regret(self) -> None:
        self._order(self.some.id())
        self._update("orders", self._any_order(), status="NEVER")
        self._delete("payments", "order_id", self._any_order())
        raise RegretError

    def _regret_a_part(self) -> None:
        """Savepoints: one kept, one rolled back to; what is inside the second never happened."""
        self._order(self.some.id())
        self._cursor.execute("savepoint kept")
        self._update("orders", self._any_order(), status="SHIPPED")
        self._cursor.execute("release savepoint kept")
        so_far, orders = self._pending.copy(), self.orders.copy()
        self._cursor.execute("savepoint lost")
        self._order(self.some.id())
        self._update("orders", self._any_order(), status="NEVER")
        self._delete("order_items", "order_id", self._any_order())
        self._cursor.execute("rollback to savepoint lost")
        self._pending, self.orders = so_far, orders
        self._update("orders", self._any_order(), status="DELIVERED")

    def _break_a_rule(self) -> None:
        """Rows that the database takes and a quality rule should not."""
        order = self._any_order()
        match self.rng.randrange(8):
            case 0:
                self._update("orders", order, total_amount=-self.some.money())
            case 1:
                self._update("orders", order, customer_id=self.some.id())
            case 2:
                self._update("orders", order, status="LOST")
            case 3:
                self._update("orders", order, currency="x")
            case 4:
                sql = "update order_items set quantity = -quantity where order_id = %s"
                self._run("order_items", "u", sql, [order])
            case 5:
                self._new_customer()
                self._update("customers", self.customers[-1], email="nobody at example")
            case 6:
                self._update("customers", self.rng.choice(self.customers), email=None)
            case _:
                self._new_product()
                self._update("products", self.products[-1], price=Decimal("-1.00"))

    def _mend(self) -> None:
        """Good values over bad ones, whatever was wrong."""
        customer = self.rng.choice(self.customers)
        self._update("customers", customer, email=self.some.email())
        self._update(
            "orders",
            self._any_order(),
            total_amount=self.some.money(),
            customer_id=customer,
            status="CONFIRMED",
            currency="EUR",
        )

    def _dawdle(self) -> None:
        """A long transaction: its changes are early in the log and late in commit order."""
        self._update("orders", self._any_order(), status="PENDING")
        self._order(self.some.id())
        time.sleep(0.03)
        self._update("orders", self._any_order(), status="SHIPPED")

    def _truncate_payments(self) -> None:
        self._cursor.execute("truncate payments")
        self._pending["payments", "t"] += 1
        self._pay(self._any_order(), self.some.money(), "USD")
