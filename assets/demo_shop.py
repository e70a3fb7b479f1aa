"""A believable shop's change stream, in the very form Debezium's Postgres connector writes it.

Everything awkward that a consumer must survive is in it: interleaved transactions, key changes,
unchanged TOAST values, a truncate, repeated and late events, an incremental snapshot, rows that
break rules and are mended, and messages that are broken outright.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from assets.demo_source import Database, Row, Table

_AUDITED = frozenset({"deleted_at", "deleted_by"})
_NEW = {"version": 1}
TABLES = {
    "customers": Table(
        key="customer_id",
        nullable=_AUDITED | {"email", "phone", "country", "segment"},
        defaults=_NEW,
    ),
    "products": Table(
        key="product_id",
        nullable=_AUDITED | {"category", "weight_kg", "attributes"},
        defaults=_NEW,
        whole_before=True,
    ),
    "orders": Table(
        key="order_id",
        nullable=_AUDITED | {"note"},
        defaults={**_NEW, "status": "PENDING", "currency": "USD"},
        long_text="note",
    ),
    "order_items": Table(key="order_item_id", nullable=_AUDITED, defaults=_NEW),
    "payments": Table(
        key="payment_id",
        nullable=_AUDITED | {"paid_at", "provider_reference"},
        defaults=_NEW,
    ),
}

_NAMES = ("Ada", "Ben", "Chen", "Dina", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena", "Mara", "Nils", "Olga", "Pia")  # fmt: skip
_SURNAMES = ("Adler", "Brown", "Costa", "Dahl", "Ersoy", "Fischer", "Garcia", "Hansen", "Ito", "Jones", "Kowalski", "Lopez")  # fmt: skip
_CATEGORIES = ("Books", "Kitchen", "Garden", "Toys", "Music", "Sport")
_THINGS = ("lamp", "kettle", "spade", "puzzle", "guitar", "ball", "atlas", "pan", "hose", "kite", "drum", "net")  # fmt: skip


# ---- THE SHOP'S DAYS ---- #


def generate(*, seed: int = 7, days: int = 5, orders_a_day: int = 60) -> Database:
    """A shop's stream of some days that end on 5 June 2026; the same for the same arguments."""
    chance = random.Random(seed)  # noqa: S311 - a shop, no secret
    start = datetime(2026, 6, 6, tzinfo=UTC) - timedelta(days=days)
    shop = Database(name="shop", tables=TABLES, random=chance, clock=start)
    _open_shop(shop)
    shop.snapshot()
    for day in range(days):
        _trade(shop, orders_a_day)
        for happening in _HAPPENINGS[day % len(_HAPPENINGS)]:
            shop.tick(30)
            happening(shop)
        shop.heartbeat()
    return shop


def _audit(shop: Database, by: str) -> Row:
    return {
        "created_at": shop.clock,
        "created_by": by,
        "updated_at": shop.clock,
        "updated_by": by,
        "version": 1,
        "deleted_at": None,
        "deleted_by": None,
    }


def _changed(shop: Database, row: Row, by: str, **new: object) -> Row:
    return {**row, **new, "updated_at": shop.clock, "updated_by": by, "version": row["version"] + 1}


def _money(shop: Database, low: int, high: int) -> Decimal:
    return Decimal(shop.random.randrange(low, high)).scaleb(-2)


def _open_shop(shop: Database) -> None:
    for number in range(40):
        row = _customer(shop, number)
        shop.truth["customers"][row["customer_id"]] = row
    for number in range(24):
        row: Row = {
            "product_id": shop.identity(), "sku": f"SKU-{number:04}", "name": f"{_CATEGORIES[number % 6]} {_THINGS[number % 12]}",
            "category": _CATEGORIES[number % 6], "price": _money(shop, 199, 29_900), "weight_kg": Decimal(shop.random.randrange(50, 9000)).scaleb(-3),
            "attributes": json.dumps({"colour": shop.random.choice(["red", "blue", "green"]), "tags": [number, None]}), "active": True, **_audit(shop, "catalogue"),
        }  # fmt: skip
        shop.truth["products"][row["product_id"]] = row


def _customer(shop: Database, number: int) -> Row:
    first, last = shop.random.choice(_NAMES), shop.random.choice(_SURNAMES)
    return {
        "customer_id": shop.identity(), "email": f"{first}.{last}.{number}@example.org".lower(), "name": f"{first} {last}",
        "phone": f"+49 30 {shop.random.randrange(10**6, 10**7)}", "country": shop.random.choice(["DE", "FR", "US", "PL", "JP"]),
        "segment": shop.random.choice(["new", "regular", "loyal"]), **_audit(shop, "accounts"),
    }  # fmt: skip


def _trade(shop: Database, orders: int) -> None:
    """A day's orders, some of whose transactions overlap, and what becomes of earlier ones."""
    step, waiting = 80_000 / orders, list[tuple[int, str, str, Row]]()
    for number in range(orders):
        shop.tick(step * shop.random.uniform(0.4, 1.4))
        if number % 7 == 0:
            newcomer = _customer(shop, len(shop.truth["customers"]) + 1000 * number)
            shop.commit(("customers", "c", newcomer))
        changes = _order(shop)
        if waiting:  # begun before this one, committed after it: its positions lie lower
            shop.commit(*changes)
            shop.write(waiting)
            waiting = []
        elif number % 5 == 0:
            waiting = shop.begin(*changes)
        else:
            shop.commit(*changes)
        _follow_up(shop)
    if waiting:
        shop.write(waiting)


def _order(shop: Database, **given: object) -> list[tuple[str, str, Row]]:
    customer = shop.random.choice(list(shop.truth["customers"].values()))
    identity, audit = shop.identity(), _audit(shop, "checkout")
    lines = [
        _line(shop, identity, product)
        for product in shop.random.sample(
            list(shop.truth["products"].values()), shop.random.randrange(1, 5)
        )
    ]
    discount, tax = (
        sum((line["discount_amount"] for line in lines), Decimal("0.00")),
        sum((line["tax_amount"] for line in lines), Decimal("0.00")),
    )
    shipping = shop.random.choice([Decimal("0.00"), Decimal("4.90"), Decimal("9.90")])
    note = (
        "".join(shop.random.choices("abcdefghijklmnopqrstuvwxyz ", k=2600))
        if shop.random.random() < 0.08
        else shop.random.choice([None, "please ring", "gift"])
    )
    order = {
        "order_id": identity, "customer_id": customer["customer_id"], "status": "PENDING", "total_amount": sum((line["line_total"] for line in lines), shipping),
        "discount_amount": discount, "tax_amount": tax, "shipping_amount": shipping, "currency": "USD", "note": note, **audit, **given,
    }  # fmt: skip
    payment = {
        "payment_id": shop.identity(), "order_id": identity, "amount": order["total_amount"], "currency": "USD", "method": shop.random.choice(["CARD", "TRANSFER"]),
        "status": "AUTHORISED", "paid_at": None, "provider_reference": f"pr_{shop.random.getrandbits(64):016x}", **audit,
    }  # fmt: skip
    return [
        ("orders", "c", order),
        *(("order_items", "c", line) for line in lines),
        ("payments", "c", payment),
    ]


def _line(shop: Database, order_id: str, product: Row) -> Row:
    quantity = shop.random.randrange(1, 4)
    discount = _money(shop, 0, 100) if shop.random.random() < 0.3 else Decimal("0.00")
    total = product["price"] * quantity - discount
    tax = (total * 19 / 119).quantize(Decimal("0.01"))
    return {
        "order_item_id": shop.identity(), "order_id": order_id, "product_id": product["product_id"], "quantity": quantity, "unit_price": product["price"],
        "discount_amount": discount, "tax_amount": tax, "line_total": total, **_audit(shop, "checkout"),
    }  # fmt: skip


_NEXT = {"PENDING": "CONFIRMED", "CONFIRMED": "SHIPPED", "SHIPPED": "DELIVERED"}


def _follow_up(shop: Database) -> None:
    """An earlier order goes a step on; now and then one is cancelled."""
    open_orders = [order for order in shop.truth["orders"].values() if order["status"] in _NEXT]
    for order in shop.random.sample(open_orders, min(2, len(open_orders))):
        status = "CANCELLED" if shop.random.random() < 0.05 else _NEXT[order["status"]]
        shop.commit(("orders", "u", _changed(shop, order, "fulfilment", status=status)))


# ---- WHAT GOES WRONG, AND IS MENDED ---- #


def _bad_rows(shop: Database) -> None:
    bad_total = _order(shop, total_amount=Decimal("-12.50"))
    shop.commit(*bad_total)
    _bad_for_good(shop, "a negative total", total_amount=Decimal("-1.00"))
    _bad_for_good(shop, "an unknown customer", customer_id=shop.identity())
    malformed = {**_customer(shop, 7777), "email": "not-an-email"}
    shop.commit(("customers", "c", malformed))
    huge = Decimal("123456789012.34")
    _bad_for_good(shop, "a total beyond decimal(10,2)", total_amount=huge)
    shop.tick(600)
    order = bad_total[0][2]
    shop.commit(("orders", "u", _changed(shop, order, "support", total_amount=Decimal("12.50"))))
    shop.commit(
        ("customers", "u", _changed(shop, malformed, "support", email="mended@example.org"))
    )


def _bad_for_good(shop: Database, why: str, **given: object) -> None:
    changes = _order(shop, **given)
    shop.notes[changes[0][2]["order_id"]] = why
    shop.commit(*changes)


def _cancel_and_delete(shop: Database) -> None:
    order = shop.random.choice(
        [o for o in shop.truth["orders"].values() if o["status"] == "PENDING"]
        or list(shop.truth["orders"].values())
    )
    lines = [
        line for line in shop.truth["order_items"].values() if line["order_id"] == order["order_id"]
    ]
    shop.commit(("orders", "d", order), *(("order_items", "d", line) for line in lines))
    again = _changed(shop, order, "support", note="ordered again")
    shop.commit(("orders", "c", again), *(("order_items", "c", line) for line in lines))
    gone = shop.random.choice(list(shop.truth["orders"].values()))
    lines = [
        line for line in shop.truth["order_items"].values() if line["order_id"] == gone["order_id"]
    ]
    shop.commit(*(("order_items", "d", line) for line in lines), ("orders", "d", gone))


def _change_a_key(shop: Database) -> None:
    ordered = {order["customer_id"] for order in shop.truth["orders"].values()}
    idle = [row for key, row in shop.truth["customers"].items() if key not in ordered]
    shop.change_key(
        "customers", (idle or list(shop.truth["customers"].values()))[-1], shop.identity()
    )


def _break_messages(shop: Database) -> None:
    shop.broken("orders", b'{"before":null,"after":{"order_id":"cut o')
    shop.broken("orders", b'{"before":null,"after":{"note":"\xff\xfe"},"op":"c"}')
    shop.broken("orders", b'{"before":null,"after":null,"source":{"name":"shop"},"op":"x"}')


def _empty_payments(shop: Database) -> None:
    shop.truncate("payments")


def _restart(shop: Database) -> None:
    for table in ("orders", "customers"):
        shop.repeat(shop.topic(table), 12)
    shop.repeat(shop.topic("orders"), 3, newer=50)


def _reread_products(shop: Database) -> None:
    product = shop.random.choice(list(shop.truth["products"].values()))
    shop.commit(("products", "u", _changed(shop, product, "catalogue", price=product["price"] + 1)))
    shop.incremental_snapshot("products")


def _announce(shop: Database) -> None:
    shop.message("audit", b"the week is closed")


_HAPPENINGS: tuple[tuple[Callable[[Database], None], ...], ...] = (
    (_bad_rows, _empty_payments),
    (_cancel_and_delete, _restart),
    (_break_messages, _reread_products),
    (_change_a_key, _restart),
    (_cancel_and_delete, _reread_products, _announce),
)
