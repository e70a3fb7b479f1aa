"""What a shop does every day: customers, products, orders, payments, cancellations."""

from __future__ import annotations

import random
from decimal import Decimal

from psycopg2 import extensions

from tests.stack.desk import Desk
from tests.stack.values import CENT, Values

STATUSES = ("PENDING", "CONFIRMED", "SHIPPED", "DELIVERED", "CANCELLED")
NAMES = ("Ada Lovelace", "Łukasz Żak", "O'Neil", "李小龙", 'Zoë "Z" Ångström', "Ω\tTab", "naïve 🦀")


class Trade(Desk):
    """The shop's ordinary turns; keeps in mind which customers, products and orders there are."""

    def __init__(self, db: extensions.connection, name: str, rng: random.Random) -> None:
        super().__init__(db, name)
        self.rng, self.some = rng, Values(rng)
        self.customers: list[str] = []
        self.products: list[str] = []
        self.orders: list[str] = []
        self._former_orders: list[str] = []

    def learn(self, number: int, clerks: int) -> None:
        """Reads what is in the shop: customers and products are everyone's, an n-th of orders ours."""
        self.customers = self._keys("customers")
        self.products = self._keys("products")
        self.orders = self._keys("orders")[number::clerks]
        self._db.rollback()

    def _place_order(self) -> None:
        self._order(self.some.id())

    def _order(self, order: str) -> None:
        """An order, its items and often a payment, with sums that agree."""
        discount, tax, total = Decimal(0), Decimal(0), Decimal(0)
        placed = self.some.moment()
        lines: list[dict[str, object]] = []
        for _ in range(self.rng.randint(1, 4)):
            quantity, price = self.rng.randint(1, 5), self.some.money()
            off = (price * self.rng.choice((0, 0, 10)) / 100).quantize(CENT)
            due = (price * quantity * 20 / 100).quantize(CENT)
            line = price * quantity - off + due
            discount, tax, total = discount + off, tax + due, total + line
            lines.append(
                {
                    "product_id": self.rng.choice(self.products),
                    "quantity": quantity,
                    "unit_price": price,
                    "discount_amount": off,
                    "tax_amount": due,
                    "line_total": line,
                }
            )
        shipping, currency = (
            self.some.money("0.00", "20.00"),
            self.rng.choice(("USD", "EUR", "GBP")),
        )
        self._insert(
            "orders",
            order_id=order,
            customer_id=self.rng.choice(self.customers),
            status="PENDING",
            total_amount=total + shipping,
            discount_amount=discount,
            tax_amount=tax,
            shipping_amount=shipping,
            currency=currency,
            note=self.some.note(),
            created_at=placed,
        )
        self.orders.append(order)
        for line in lines:
            self._insert(
                "order_items",
                order_item_id=self.some.id(),
                order_id=order,
                created_at=placed,
                **line,
            )
        if self.rng.random() < 0.5:
            self._pay(order, total + shipping, currency)

    def _pay(self, order: str, amount: Decimal, currency: str) -> None:
        captured = self.rng.random() < 0.8
        self._insert(
            "payments",
            payment_id=self.some.id(),
            order_id=order,
            amount=amount,
            currency=currency,
            method=self.rng.choice(("CARD", "TRANSFER", "WALLET")),
            status="CAPTURED" if captured else "AUTHORISED",
            paid_at=self.some.moment() if captured else None,
            provider_reference=self.rng.choice((None, "", f"ref-{self.some.text(12)}")),
        )

    def _any_order(self) -> str:
        return self.rng.choice(self.orders)

    def _move_order_on(self) -> None:
        """Leaves a long note alone, so the stream shows its placeholder."""
        self._update("orders", self._any_order(), status=self.rng.choice(STATUSES))

    def _pay_order(self) -> None:
        order = self._any_order()
        self._pay(order, self.some.money(), "USD")
        self._update("orders", order, status="CONFIRMED")

    def _change_note(self) -> None:
        """A new note and then another change: value and placeholder meet in one transaction."""
        order = self._any_order()
        self._update("orders", order, note=self.some.note())
        self._update("orders", order, status=self.rng.choice(STATUSES))

    def _new_customer(self) -> None:
        customer = self.some.id()
        self._insert(
            "customers",
            customer_id=customer,
            email=self.some.email(),
            name=self.rng.choice(NAMES),
            phone=self.rng.choice((None, "", "+49 30 1234567")),
            country=self.rng.choice(("DE", "FR", "US", None)),
            segment=self.rng.choice(("CONSUMER", "BUSINESS", None)),
        )
        self.customers.append(customer)

    def _edit_customer(self) -> None:
        change = self.rng.choice(
            ({"email": self.some.email()}, {"phone": None}, {"segment": "VIP"})
        )
        self._update("customers", self.rng.choice(self.customers), **change)

    def _new_product(self) -> None:
        product = self.some.id()
        self._insert(
            "products",
            product_id=product,
            sku=f"SKU-{self.rng.randrange(10**9):09d}",
            name=self.some.text(20),
            category=self.rng.choice(("books", "toys", "garden", None)),
            price=self.some.money(),
            weight_kg=self.rng.choice((None, Decimal("0.001"), Decimal("12345.678"))),
            attributes=self.some.attributes(),
            active=self.rng.random() < 0.9,
        )
        self.products.append(product)

    def _reprice_product(self) -> None:
        """Every clerk changes the first few products, so clerks wait for each other's row locks."""
        product = self.rng.choice(self.products[:5])
        self._update("products", product, price=self.some.money())
        if self.rng.random() < 0.3:
            self._update("products", product, attributes=self.some.attributes())

    def _cancel_order(self) -> None:
        order = self._any_order()
        self._cancel(order)
        self._former_orders.append(order)

    def _cancel(self, order: str) -> None:
        for table in ("order_items", "payments", "orders"):
            self._delete(table, "order_id", order)
        self.orders.remove(order)

    def _leave_as_customer(self) -> None:
        """Marked as deleted, or really gone; then orders refer to a customer who is not there."""
        customer = self.rng.choice(self.customers)
        if self.rng.random() < 0.7:
            self._update("customers", customer, deleted_at=self.some.moment(), deleted_by=self.name)
        else:
            self._delete("customers", "customer_id", customer)
