"""Debezium connectors through Kafka Connect's REST interface, one configuration a message form."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from tests.stack.parts import StackError
from tests.stack.services import LOOPBACK, Stack

TABLES = ("customers", "products", "orders", "order_items", "payments")
JSON_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"
POLL_SECONDS = 0.1


class Form(StrEnum):
    """How a change is written into a Kafka record."""

    ENVELOPED = "enveloped"
    ENVELOPED_SCHEMAS = "enveloped_schemas"
    UNWRAPPED = "unwrapped"
    UNWRAPPED_SCHEMAS = "unwrapped_schemas"

    @property
    def has_schemas(self) -> bool:
        """Whether key and value carry their schema block."""
        return self in (Form.ENVELOPED_SCHEMAS, Form.UNWRAPPED_SCHEMAS)

    @property
    def is_unwrapped(self) -> bool:
        """Whether the value is the bare row (which loses truncates)."""
        return self in (Form.UNWRAPPED, Form.UNWRAPPED_SCHEMAS)


def connector(
    stack: Stack, *, database: str, prefix: str, slot: str, form: Form, partitions: int
) -> dict[str, str]:
    """Configuration of a connector that streams the shop's tables as `<prefix>.public.<table>`."""
    schemas = str(form.has_schemas).lower()
    config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": LOOPBACK,
        "database.port": str(stack.postgres),
        "database.user": "postgres",
        "database.dbname": database,
        "topic.prefix": prefix,
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": slot,
        "publication.autocreate.mode": "filtered",
        "table.include.list": ",".join(f"public.{table}" for table in TABLES),
        "snapshot.mode": "initial",
        "tombstones.on.delete": "true",
        "skipped.operations": "none",
        "provide.transaction.metadata": "true",
        "heartbeat.interval.ms": "1000",
        "key.converter": JSON_CONVERTER,
        "value.converter": JSON_CONVERTER,
        "key.converter.schemas.enable": schemas,
        "value.converter.schemas.enable": schemas,
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": str(partitions),
        # Transactions, messages and heartbeats keep their order only in one partition.
        "topic.creation.groups": "side",
        "topic.creation.side.include": f"__debezium-heartbeat.*,{prefix}.transaction,{prefix}.message",
        "topic.creation.side.partitions": "1",
        "topic.creation.side.replication.factor": "1",
    }
    return config | (_unwrapping(prefix) if form.is_unwrapped else {})


def _unwrapping(prefix: str) -> dict[str, str]:
    fields = "op,table,lsn,source.ts_ms,source.ts_us,source.sequence,ts_ms,transaction.id"
    return {
        "transforms": "unwrap",
        "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
        "transforms.unwrap.delete.tombstone.handling.mode": "rewrite-with-tombstone",
        "transforms.unwrap.add.fields": fields,
        # Heartbeats, transactions and messages are no rows.
        "transforms.unwrap.predicate": "rows",
        "predicates": "rows",
        "predicates.rows.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
        "predicates.rows.pattern": rf"{prefix}\.public\..*",
    }


def create(stack: Stack, name: str, config: Mapping[str, str], *, seconds: float = 60.0) -> None:
    """Creates the connector and waits until its task runs.

    Raises:
        StackError: Connect refuses the configuration, or the task fails; with Debezium's reason.
    """
    _request(stack, "PUT", f"/connectors/{name}/config", config)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_running(stack, name):
            return
        time.sleep(POLL_SECONDS)
    raise StackError(f"Connector {name} does not run after {seconds:.0f} s; see connect.log")


def is_running(stack: Stack, name: str) -> bool:
    """Whether the connector's task runs.

    Raises:
        StackError: It has failed; with Debezium's reason.
    """
    try:
        said = _request(stack, "GET", f"/connectors/{name}/status")
    except StackError:  # 404 until Connect has read its own configuration topic
        return False
    tasks: list[dict[str, str]] = said["tasks"]
    for task in [*tasks, said["connector"]]:
        if task["state"] == "FAILED":
            raise StackError(f"Connector {name} failed: {task.get('trace', '')[:2000]}")
    return bool(tasks) and all(task["state"] == "RUNNING" for task in tasks)


def pause(stack: Stack, name: str) -> None:
    """Stops the connector's task and keeps its offsets; `resume` goes on from there."""
    _request(stack, "PUT", f"/connectors/{name}/stop")


def resume(stack: Stack, name: str) -> None:
    """Starts a paused connector again."""
    _request(stack, "PUT", f"/connectors/{name}/resume")


def restart(stack: Stack, name: str) -> None:
    """Restarts connector and task, as after a crash: events since the last flush come again."""
    _request(stack, "POST", f"/connectors/{name}/restart?includeTasks=true")


def delete(stack: Stack, name: str) -> None:
    """Removes the connector; its slot, publication and topics stay."""
    _request(stack, "DELETE", f"/connectors/{name}")


def names(stack: Stack) -> list[str]:
    """The connectors there are."""
    return list(_request(stack, "GET", "/connectors"))


def flushed_lsn(stack: Stack, name: str) -> int:
    """Position up to which Kafka has acknowledged every record; -1 before the first.

    Connect commits an offset only when all records before it are acknowledged, whatever their
    partition, so this is safer than the slot's position, which follows single acknowledgements.
    """
    return max((int(at.get("lsn", -1)) for at in offsets(stack, name)), default=-1)


def offsets(stack: Stack, name: str) -> list[dict[str, Any]]:
    """How far the connector has read and Kafka has acknowledged, as the connector tells it."""
    said = _request(stack, "GET", f"/connectors/{name}/offsets")
    return [entry["offset"] for entry in said["offsets"]]


def _request(
    stack: Stack, method: str, path: str, body: Mapping[str, str] | None = None
) -> dict[str, Any]:
    request = urllib.request.Request(
        stack.connect_url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        with error:
            said = error.read().decode(errors="replace")[:2000]
        raise StackError(f"Connect: {method} {path} answered {error.code}: {said}") from error
    except urllib.error.URLError as error:
        raise StackError(f"Connect: {method} {path}: {error.reason}") from error
