"""A believable shop's change stream, in the very form Debezium's Postgres connector writes it.

Everything awkward that a consumer must survive is in it: interleaved transactions, key changes,
unchanged TOAST values, a truncate, repeated and late events, an incremental snapshot, rows that
break rules and are mended, and messages that are broken outright. `Shop.truth` is what the source's
tables hold at the end, so that whoever consumes the stream can be held to it.
"""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

PREFIX = "shop"
TABLES = ("customers", "products", "orders", "order_items", "payments")
KEYS = {
    "customers": "customer_id",
    "products": "product_id",
    "orders": "order_id",
    "order_items": "order_item_id",
    "payments": "payment_id",
}
PLACEHOLDER = "__debezium_unavailable_value"

Row = dict[str, Any]

_WHOLE_BEFORE = frozenset({"products"})  # REPLICA IDENTITY FULL
_NULLABLE = frozenset({
    "email", "phone", "country", "segment", "category", "weight_kg", "attributes", "note", "paid_at", "provider_reference", "deleted_at", "deleted_by",
})  # fmt: skip
_DEFAULTS: dict[str, Row] = {"orders": {"status": "PENDING", "currency": "USD"}}
_BLANKS: dict[type, object] = {
    str: "",
    int: 0,
    bool: False,
    Decimal: Decimal("0.00"),
    datetime: datetime(1970, 1, 1, tzinfo=UTC),
}

_NAMES = ("Ada", "Ben", "Chen", "Dina", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena", "Mara", "Nils", "Olga", "Pia")  # fmt: skip
_SURNAMES = ("Adler", "Brown", "Costa", "Dahl", "Ersoy", "Fischer", "Garcia", "Hansen", "Ito", "Jones", "Kowalski", "Lopez")  # fmt: skip
_CATEGORIES = ("Books", "Kitchen", "Garden", "Toys", "Music", "Sport")
_THINGS = ("lamp", "kettle", "spade", "puzzle", "guitar", "ball", "atlas", "pan", "hose", "kite", "drum", "net")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One Kafka record; `timestamp_ms` is the producer's time."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int


@dataclass(slots=True)
class Shop:
    """The source: its tables, its log, and the records a connector made of it."""

    random: random.Random
    clock: datetime
    lsn: int = 27_000_000
    transaction: int = 900
    last_commit: int = 27_000_000
    truth: dict[str, dict[str, Row]] = field(
        default_factory=lambda: {table: {} for table in TABLES}
    )
    records: list[Record] = field(default_factory=list[Record])
    notes: dict[str, str] = field(default_factory=dict[str, str])
    """Orders that are bad to the end, by their key: why."""
    _told: Counter[str] = field(default_factory=Counter[str])

    # ---- THE LOG ---- #

    def tick(self, seconds: float) -> None:
        """Time goes by."""
        self.clock += timedelta(seconds=seconds)

    def next_lsn(self) -> int:
        """Where the next change stands in the log."""
        self.lsn += self.random.randrange(48, 400, 8)
        return self.lsn

    def snapshot(self) -> None:
        """The first full snapshot: each table's rows as `r`, all at one place in the log."""
        sequence = f'[null,"{self.lsn}"]'
        held = [table for table in TABLES if self.truth[table]]
        for table in held:
            rows = list(self.truth[table].values())
            marks = ["first_in_data_collection", *["true"] * (len(rows) - 2)]
            marks.append("last_in_data_collection")
            if table == held[0]:
                marks[0] = "first"
            if table == held[-1]:
                marks[-1] = "last"
            for mark, row in zip(marks, rows, strict=True):
                self._emit(table, "r", after=row, lsn=self.lsn, snapshot=mark, sequence=sequence)

    def commit(self, *changes: tuple[str, str, Row]) -> None:
        """One transaction; changes are (table, c|u|d, the whole new row, or the old one for d)."""
        self.write(self.begin(*changes))

    def begin(self, *changes: tuple[str, str, Row]) -> list[tuple[int, str, str, Row]]:
        """Changes put into the log, not committed yet: another transaction may commit before."""
        return [(self.next_lsn(), *change) for change in changes]

    def write(self, logged: list[tuple[int, str, str, Row]]) -> None:
        """Commits what `begin` put into the log; the connector sends it in this moment."""
        self._open(logged[0][0])
        for lsn, table, op, row in logged:
            self._change(table, op, row, **self._place(table, lsn))
        self._close()

    def _open(self, lsn: int) -> None:
        self.transaction += 1
        self._told.clear()
        self._boundary("BEGIN", lsn)

    def _place(self, table: str, lsn: int) -> dict[str, Any]:
        """An event's place in the log and within the open transaction."""
        self._told[table] += 1
        return {
            "lsn": lsn,
            "sequence": f'["{self.last_commit}","{lsn}"]',
            "transaction": {
                "id": f"{self.transaction}:{lsn}",
                "total_order": self._told.total(),
                "data_collection_order": self._told[table],
            },
        }

    def _close(self) -> None:
        self.last_commit = self.next_lsn()
        told = [
            {"data_collection": f"public.{table}", "event_count": count}
            for table, count in self._told.items()
        ]
        self._boundary("END", self.last_commit, event_count=self._told.total(), collections=told)

    def _change(self, table: str, op: str, row: Row, **log: Any) -> None:
        key = str(row[KEYS[table]])
        if op == "d":
            self.truth[table].pop(key, None)
            before = row if table in _WHOLE_BEFORE else _key_only(table, row)
            self._emit(table, "d", before=before, **log)
            self._tombstone(table, row)
            return
        told = dict(row)
        old = self.truth[table].get(key)
        if (
            op == "u"
            and old is not None
            and len(row.get("note") or "") > 2000
            and old.get("note") == row["note"]
        ):
            told["note"] = PLACEHOLDER
        self.truth[table][key] = dict(row)
        before = old if op == "u" and table in _WHOLE_BEFORE else None
        self._emit(table, op, before=before, after=told, **log)

    def change_key(self, table: str, row: Row, new_key: str) -> None:
        """A primary-key update: delete, tombstone and create that name each other in their headers."""
        name = KEYS[table]
        old, new = {name: row[name]}, {name: new_key}
        moved = {**row, name: new_key}
        self.truth[table].pop(str(row[name]))
        self.truth[table][new_key] = moved
        lsn = self.next_lsn()
        renamed = (("__debezium.newkey", _json(new)),)
        self._open(lsn)
        before, log = _key_only(table, row), self._place(table, lsn)
        self._emit(table, "d", before=before, headers=renamed, **log)
        self._tombstone(table, row, headers=renamed)
        origin = (("__debezium.oldkey", _json(old)),)
        self._emit(table, "c", after=moved, headers=origin, **self._place(table, lsn))
        self._close()

    def truncate(self, table: str) -> None:
        """TRUNCATE: one event without a key."""
        self.truth[table].clear()
        lsn = self.next_lsn()
        self._open(lsn)
        value = self._envelope(table, "t", None, None, **self._place(table, lsn))
        self._put(f"{PREFIX}.public.{table}", None, _json(value))
        self._close()

    def incremental_snapshot(self, table: str) -> None:
        """Rows read again in mid-stream: they name no position of their own."""
        sequence = f'["{self.last_commit}","{self.last_commit}"]'
        for row in self.truth[table].values():
            self._emit(table, "r", after=row, lsn=None, snapshot="incremental", sequence=sequence)

    def repeat(self, topic: str, count: int, *, newer: int = 0) -> None:
        """A connector that restarts sends records again: the last, or those `newer` stand behind."""
        sent = [record for record in self.records if record.topic == topic]
        end = len(sent) - newer
        for record in sent[max(end - count, 0) : max(end, 0)]:
            self._put(topic, record.key, record.value, record.headers)

    def broken(self, table: str, value: bytes) -> None:
        """A message that no connector would write."""
        self._put(f"{PREFIX}.public.{table}", _json({KEYS[table]: "broken"}), value)

    def heartbeat(self) -> None:
        """The connector is alive."""
        self._put(
            f"__debezium-heartbeat.{PREFIX}",
            _json({"serverName": PREFIX}),
            _json({"ts_ms": self._now_ms()}),
        )

    def message(self, prefix: str, content: bytes) -> None:
        """A logical message that the database wrote into its log outside any transaction."""
        lsn = self.next_lsn()
        source = self._source("", lsn, f'["{lsn}","{lsn}"]', "false")
        told = {"prefix": prefix, "content": base64.b64encode(content).decode()}
        value: Row = {"op": "m", "ts_ms": self._now_ms() + 35, "source": {**source, "txId": None}}
        value |= {"transaction": None, "message": told}
        self._put(f"{PREFIX}.message", _json({"prefix": prefix}), _json(value))

    # ---- THE WIRE ---- #

    def _now_ms(self) -> int:
        return int(self.clock.timestamp() * 1000)

    def _emit(
        self,
        table: str,
        op: str,
        *,
        before: Row | None = None,
        after: Row | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
        **log: Any,
    ) -> None:
        row = after or before or {}
        key = {KEYS[table]: row[KEYS[table]]}
        value = self._envelope(table, op, before and _wire(before), after and _wire(after), **log)
        self._put(f"{PREFIX}.public.{table}", _json(key), _json(value), headers)

    def _tombstone(self, table: str, row: Row, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._put(f"{PREFIX}.public.{table}", _json({KEYS[table]: row[KEYS[table]]}), None, headers)

    def _envelope(
        self,
        table: str,
        op: str,
        before: Row | None,
        after: Row | None,
        *,
        lsn: int | None,
        sequence: str,
        snapshot: str = "false",
        transaction: Row | None = None,
    ) -> Row:
        source = self._source(table, lsn, sequence, snapshot)
        now = self._now_ms() + 35
        return {
            "before": before,
            "after": after,
            "source": source,
            "transaction": transaction,
            "op": op,
            "ts_ms": now,
            "ts_us": now * 1000,
            "ts_ns": now * 1_000_000,
        }

    def _source(self, table: str, lsn: int | None, sequence: str, snapshot: str) -> Row:
        micros = int(self.clock.timestamp() * 1_000_000)
        return {
            "version": "3.7.0.Final", "connector": "postgresql", "name": PREFIX, "ts_ms": micros // 1000, "snapshot": snapshot, "db": "shop",
            "sequence": sequence, "ts_us": micros, "ts_ns": micros * 1000, "schema": "public" if table else "", "table": table,
            "txId": None if lsn is None else self.transaction, "lsn": lsn, "xmin": None, "origin": None, "origin_lsn": None,
        }  # fmt: skip

    def _boundary(
        self,
        status: str,
        lsn: int,
        event_count: int | None = None,
        collections: list[Row] | None = None,
    ) -> None:
        identity = f"{self.transaction}:{lsn}"
        value = {
            "status": status,
            "id": identity,
            "event_count": event_count,
            "data_collections": collections,
            "ts_ms": self._now_ms(),
        }
        self._put(f"{PREFIX}.transaction", _json({"id": identity}), _json(value))

    def _put(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        self.records.append(
            Record(
                topic=topic, key=key, value=value, headers=headers, timestamp_ms=self._now_ms() + 60
            )
        )


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _wire(row: Row) -> Row:
    """Values as the connector writes them: decimals in base64, instants as text."""
    return {name: _wire_value(value) for name, value in row.items()}


def _wire_value(value: object) -> object:
    if isinstance(value, Decimal):
        unscaled = int(value.scaleb(-int(value.as_tuple().exponent)))
        size = (unscaled + (unscaled < 0)).bit_length() // 8 + 1
        return base64.b64encode(unscaled.to_bytes(size, "big", signed=True)).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


def _key_only(table: str, row: Row) -> Row:
    """What REPLICA IDENTITY DEFAULT tells of a deleted row: its key.

    The rest is null, or in a column that cannot be null its default or its type's.
    """
    stand_in = {name: _BLANKS.get(type(value)) for name, value in row.items()}
    return {
        **stand_in,
        **_DEFAULTS.get(table, {}),
        "version": 1,
        **dict.fromkeys(_NULLABLE & row.keys()),
        KEYS[table]: row[KEYS[table]],
    }


# ---- THE SHOP'S DAYS ---- #


def generate(*, seed: int = 7, days: int = 5, orders_a_day: int = 60) -> Shop:
    """A shop's stream of some days that end on 5 June 2026; the same for the same arguments."""
    chance = random.Random(seed)  # noqa: S311 - a shop, no secret
    shop = Shop(random=chance, clock=datetime(2026, 6, 6, tzinfo=UTC) - timedelta(days=days))
    _open_shop(shop)
    shop.snapshot()
    for day in range(days):
        _trade(shop, orders_a_day)
        for happening in _HAPPENINGS[day % len(_HAPPENINGS)]:
            shop.tick(30)
            happening(shop)
        shop.heartbeat()
    return shop


def _audit(shop: Shop, by: str) -> Row:
    return {
        "created_at": shop.clock,
        "created_by": by,
        "updated_at": shop.clock,
        "updated_by": by,
        "version": 1,
        "deleted_at": None,
        "deleted_by": None,
    }


def _changed(shop: Shop, row: Row, by: str, **new: object) -> Row:
    return {**row, **new, "updated_at": shop.clock, "updated_by": by, "version": row["version"] + 1}


def _identity(shop: Shop) -> str:
    return str(uuid.UUID(int=shop.random.getrandbits(128), version=4))


def _money(shop: Shop, low: int, high: int) -> Decimal:
    return Decimal(shop.random.randrange(low, high)).scaleb(-2)


def _open_shop(shop: Shop) -> None:
    for number in range(40):
        row = _customer(shop, number)
        shop.truth["customers"][row["customer_id"]] = row
    for number in range(24):
        row: Row = {
            "product_id": _identity(shop), "sku": f"SKU-{number:04}", "name": f"{_CATEGORIES[number % 6]} {_THINGS[number % 12]}",
            "category": _CATEGORIES[number % 6], "price": _money(shop, 199, 29_900), "weight_kg": Decimal(shop.random.randrange(50, 9000)).scaleb(-3),
            "attributes": json.dumps({"colour": shop.random.choice(["red", "blue", "green"]), "tags": [number, None]}), "active": True, **_audit(shop, "catalogue"),
        }  # fmt: skip
        shop.truth["products"][row["product_id"]] = row


def _customer(shop: Shop, number: int) -> Row:
    first, last = shop.random.choice(_NAMES), shop.random.choice(_SURNAMES)
    return {
        "customer_id": _identity(shop), "email": f"{first}.{last}.{number}@example.org".lower(), "name": f"{first} {last}",
        "phone": f"+49 30 {shop.random.randrange(10**6, 10**7)}", "country": shop.random.choice(["DE", "FR", "US", "PL", "JP"]),
        "segment": shop.random.choice(["new", "regular", "loyal"]), **_audit(shop, "accounts"),
    }  # fmt: skip


def _trade(shop: Shop, orders: int) -> None:
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


def _order(shop: Shop, **given: object) -> list[tuple[str, str, Row]]:
    customer = shop.random.choice(list(shop.truth["customers"].values()))
    identity, audit = _identity(shop), _audit(shop, "checkout")
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
        "payment_id": _identity(shop), "order_id": identity, "amount": order["total_amount"], "currency": "USD", "method": shop.random.choice(["CARD", "TRANSFER"]),
        "status": "AUTHORISED", "paid_at": None, "provider_reference": f"pr_{shop.random.getrandbits(64):016x}", **audit,
    }  # fmt: skip
    return [
        ("orders", "c", order),
        *(("order_items", "c", line) for line in lines),
        ("payments", "c", payment),
    ]


def _line(shop: Shop, order_id: str, product: Row) -> Row:
    quantity = shop.random.randrange(1, 4)
    discount = _money(shop, 0, 100) if shop.random.random() < 0.3 else Decimal("0.00")
    total = product["price"] * quantity - discount
    tax = (total * 19 / 119).quantize(Decimal("0.01"))
    return {
        "order_item_id": _identity(shop), "order_id": order_id, "product_id": product["product_id"], "quantity": quantity, "unit_price": product["price"],
        "discount_amount": discount, "tax_amount": tax, "line_total": total, **_audit(shop, "checkout"),
    }  # fmt: skip


_NEXT = {"PENDING": "CONFIRMED", "CONFIRMED": "SHIPPED", "SHIPPED": "DELIVERED"}


def _follow_up(shop: Shop) -> None:
    """An earlier order goes a step on; now and then one is cancelled."""
    open_orders = [order for order in shop.truth["orders"].values() if order["status"] in _NEXT]
    for order in shop.random.sample(open_orders, min(2, len(open_orders))):
        status = "CANCELLED" if shop.random.random() < 0.05 else _NEXT[order["status"]]
        shop.commit(("orders", "u", _changed(shop, order, "fulfilment", status=status)))


# ---- WHAT GOES WRONG, AND IS MENDED ---- #


def _bad_rows(shop: Shop) -> None:
    bad_total = _order(shop, total_amount=Decimal("-12.50"))
    shop.commit(*bad_total)
    _bad_for_good(shop, "a negative total", total_amount=Decimal("-1.00"))
    _bad_for_good(shop, "an unknown customer", customer_id=_identity(shop))
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


def _bad_for_good(shop: Shop, why: str, **given: object) -> None:
    changes = _order(shop, **given)
    shop.notes[changes[0][2]["order_id"]] = why
    shop.commit(*changes)


def _cancel_and_delete(shop: Shop) -> None:
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


def _change_a_key(shop: Shop) -> None:
    ordered = {order["customer_id"] for order in shop.truth["orders"].values()}
    idle = [row for key, row in shop.truth["customers"].items() if key not in ordered]
    shop.change_key(
        "customers", (idle or list(shop.truth["customers"].values()))[-1], _identity(shop)
    )


def _break_messages(shop: Shop) -> None:
    shop.broken("orders", b'{"before":null,"after":{"order_id":"cut o')
    shop.broken("orders", b'{"before":null,"after":{"note":"\xff\xfe"},"op":"c"}')
    shop.broken("orders", b'{"before":null,"after":null,"source":{"name":"shop"},"op":"x"}')


def _empty_payments(shop: Shop) -> None:
    shop.truncate("payments")


def _restart(shop: Shop) -> None:
    for table in ("orders", "customers"):
        shop.repeat(f"{PREFIX}.public.{table}", 12)
    shop.repeat(f"{PREFIX}.public.orders", 3, newer=50)


def _reread_products(shop: Shop) -> None:
    product = shop.random.choice(list(shop.truth["products"].values()))
    shop.commit(("products", "u", _changed(shop, product, "catalogue", price=product["price"] + 1)))
    shop.incremental_snapshot("products")


def _announce(shop: Shop) -> None:
    shop.message("audit", b"the week is closed")


_HAPPENINGS: tuple[tuple[Callable[[Shop], None], ...], ...] = (
    (_bad_rows, _empty_payments),
    (_cancel_and_delete, _restart),
    (_break_messages, _reread_products),
    (_change_a_key, _restart),
    (_cancel_and_delete, _reread_products, _announce),
)


def recorded_lines(shop: Shop) -> Iterator[str]:
    """The stream as lines of a recorded file, one partition a topic."""
    offsets = dict[str, int]()
    for record in shop.records:
        offset = offsets.get(record.topic, 0)
        offsets[record.topic] = offset + 1
        headers = [[name, value.decode()] for name, value in record.headers]
        line = {
            "topic": record.topic,
            "partition": 0,
            "offset": offset,
            "timestamp": record.timestamp_ms,
            "ts_type": 1,
            "headers": headers,
        }
        yield json.dumps(
            {**line, "key": _text(record.key), "value": _text(record.value)}, ensure_ascii=False
        )


def _text(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode()}
