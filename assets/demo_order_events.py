"""What the order service publishes of a shop's orders: OrderEvent in Avro, whose schema changes in mid-stream."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from assets.demo_feeds import Feeds, milliseconds, tell_event
from assets.demo_source import Database, Row

ORDERS = "orders-topic"

_STATUSES = ["PENDING", "CONFIRMED", "SHIPPED", "DELIVERED", "CANCELLED"]


def _order_event(status: list[str], more: list[Row], audit: list[Row]) -> Row:
    fields = [
        {"name": "orderId", "type": "string"}, {"name": "customerId", "type": "string"},
        {"name": "status", "type": {"type": "enum", "name": "OrderStatus", "symbols": status}},
        {"name": "totalAmount", "type": "double"}, *more,
        {"name": "auditInfo", "type": {"type": "record", "name": "AuditInfo", "fields": [{"name": "createdAt", "type": "long"}, {"name": "createdBy", "type": "string"}, *audit]}},
    ]  # fmt: skip
    return {"type": "record", "name": "OrderEvent", "namespace": "com.bitvelocity.events", "fields": fields}  # fmt: skip


_CURRENCY: Row = {"name": "currency", "type": "string", "default": "USD"}
_TRACE: Row = {"name": "traceId", "type": ["null", "string"], "default": None}

#: Versions of OrderEvent by their id in the registry. The last one was never checked: readers of
#: the others do not know its status.
SCHEMAS: Mapping[int, Row] = {
    101: _order_event(_STATUSES, [], []),
    102: _order_event(_STATUSES, [_CURRENCY], [_TRACE]),
    103: _order_event([*_STATUSES, "RETURNED"], [_CURRENCY], [_TRACE]),
}

#: The demo's registry, as a file: see `pipelines.avro.registry`.
REGISTRY: Mapping[str, Mapping[str, object]] = {
    "schemas": {str(number): schema for number, schema in SCHEMAS.items()},
    "subjects": {f"{ORDERS}-value": [101, 102]},
    "compatibility": {f"{ORDERS}-value": "FULL"},
}


def publish_orders(feeds: Feeds, shop: Database, start: datetime, days: int) -> None:
    """What the order service publishes of the shop's orders; its instances learn v2 during the third day."""
    end, steps = start + timedelta(days=days), list[tuple[datetime, str, Row]]()
    for row in shop.truth["orders"].values():
        reached = [*_STATUSES[:4][: _STATUSES.index(row["status"]) + 1]] if row["status"] in _STATUSES[:4] else ["PENDING", "CANCELLED"]  # fmt: skip
        if row["total_amount"] is None or row["total_amount"] < 0 or row["status"] not in _STATUSES:
            continue
        at = row["created_at"]
        for status in reached:
            steps.append((at, status, row))
            at += timedelta(minutes=feeds.random.randrange(5, 900))
    for at, status, row in sorted(steps, key=lambda step: (step[0], step[2]["order_id"])):
        if at < end:
            version = 101 if at < start + timedelta(days=2) else 102 if at >= start + timedelta(days=3) else feeds.random.choice([101, 102])  # fmt: skip
            feeds.clock = at + timedelta(milliseconds=150)
            _publish(feeds, row, status, at, version)
            if feeds.random.random() < 0.03:  # the producer's acknowledgement was lost
                record = feeds.records[-1]
                feeds.records.append(record)
    feeds.clock = end
    _publish(feeds, steps[0][2], "RETURNED", end - timedelta(minutes=1), 103)
    feeds.put(ORDERS, b"unknown", b"\0\0\0\x03\xe7\x02a")


def _publish(feeds: Feeds, row: Row, status: str, at: datetime, version: int) -> None:
    trace = f"{feeds.random.getrandbits(64):016x}" if version > 101 else None
    event: Row = {
        "orderId": row["order_id"], "customerId": row["customer_id"], "status": status, "totalAmount": float(row["total_amount"]), "currency": row["currency"],
        "auditInfo": {"createdAt": milliseconds(at), "createdBy": "order-service", "traceId": trace},
    }  # fmt: skip
    tell_event(feeds, ORDERS, row["order_id"], event, version, SCHEMAS[version])
    currency = row["currency"] if version > 101 else "USD"
    occurred = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds(at))
    feeds.published.append(
        {
            "order_id": row["order_id"],
            "customer_id": row["customer_id"],
            "status": status,
            "total_amount": event["totalAmount"],
            "currency": currency,
            "occurred_at": occurred,
            "created_by": "order-service",
            "trace_id": trace,
            "rest": None,
        }
    )
