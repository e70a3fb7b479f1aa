"""What a topic is to us: a declared table's changes, a connector's own topic, or nothing we know."""

from __future__ import annotations

import re
from enum import Enum, auto

from pipelines.contract import Catalog


class TopicKind(Enum):
    """The kinds; the names are bronze's `operation_type` for a connector's own topics."""

    TABLE = auto()
    EVENTS = auto()
    TRANSACTION = auto()
    HEARTBEAT = auto()
    MESSAGE = auto()
    SCHEMA_CHANGE = auto()
    NOTIFICATION = auto()
    SIGNAL = auto()
    FILE = auto()


_OWN = {
    "transaction": TopicKind.TRANSACTION,
    "message": TopicKind.MESSAGE,
    "history": TopicKind.SCHEMA_CHANGE,
    "schema-history": TopicKind.SCHEMA_CHANGE,
    "schemahistory": TopicKind.SCHEMA_CHANGE,
    "schema-changes": TopicKind.SCHEMA_CHANGE,
    "notification": TopicKind.NOTIFICATION,
    "notifications": TopicKind.NOTIFICATION,
    "signal": TopicKind.SIGNAL,
}


def kind_of(topic: str, catalog: Catalog) -> TopicKind:
    """The kind of a topic; a declared one is a table or plain events, whatever its name.

    Debezium's own topics are `<prefix>.transaction`, `<prefix>.message`,
    `__debezium-heartbeat.<prefix>` (Postgres connector, "Topic names") and `<prefix>` itself for
    schema changes (MySQL connector, "Schema change topic"); history, notifications and signals
    have the names of `_OWN` where a connector is set up as the documentation does it.
    """
    declared = catalog.topics().get(topic)
    if declared is not None:
        plain = declared.source is not None and declared.source.connector == "events"
        return TopicKind.EVENTS if plain else TopicKind.TABLE
    if topic.startswith("file:"):
        return TopicKind.FILE
    if topic.startswith("__debezium-heartbeat"):
        return TopicKind.HEARTBEAT
    if topic in prefixes(catalog):
        return TopicKind.SCHEMA_CHANGE
    prefix, _, last = topic.rpartition(".")
    own = prefix and ("." not in prefix or prefix in prefixes(catalog))
    return _OWN.get(last, TopicKind.TABLE) if own else TopicKind.TABLE


def table_of(topic: str, catalog: Catalog) -> str | None:
    """The bronze table of a topic; None for one that no contract declares."""
    declared = catalog.topics().get(topic)
    if declared is not None:
        return declared.bronze
    if kind_of(topic, catalog) in (TopicKind.TABLE, TopicKind.FILE):
        return None
    words = re.sub(r"[^a-z0-9]+", "_", topic.lower()).strip("_")
    return "bronze.side." + (f"t_{words}" if words[:1].isdigit() else words)


def prefix_of(topic: str) -> str:
    """The connector's topic prefix, as a table's topic (`prefix.schema.table`) tells it."""
    return topic.rsplit(".", 2)[0]


def prefixes(catalog: Catalog) -> set[str]:
    """The connectors' topic prefixes, as far as the declared topics tell."""
    return {prefix_of(topic) for topic in catalog.topics()}


def side_topics(catalog: Catalog) -> list[str]:
    """The connectors' own topics beside the declared ones: read where the broker has them.

    A connector makes them when it first has something to say in them.
    """
    return sorted(
        name
        for prefix in prefixes(catalog)
        for name in (f"{prefix}.transaction", f"__debezium-heartbeat.{prefix}")
    )


def other_ways(catalog: Catalog) -> list[str]:
    """The declared topics that need not be on a broker, since rows come as files or from an API too."""
    sources = [(topic, contract.source) for topic, contract in catalog.topics().items()]
    return sorted(topic for topic, source in sources if source and (source.files or source.api))
