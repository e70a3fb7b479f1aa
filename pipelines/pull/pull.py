"""A pull: every page of an API's list into bronze, as far as it says anything new.

An item that says what its key said last is no event, so a pull that is made again, from wherever, lands
nothing twice. The position, the largest value of the field that rises with changes, only saves work: it is
kept in `system.main.pulls` once all pages are in bronze, and a crash before that reads them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from pipelines.bronze import Bronze
from pipelines.capture.flat import PULLED, text_batch
from pipelines.capture.records import Origin, Partition
from pipelines.change.ndjson import parse
from pipelines.change.schema import writings
from pipelines.change.values import decode
from pipelines.contract import Catalog, Contract
from pipelines.contract.arrivals import Api
from pipelines.errors import ContractError, PullError
from pipelines.pull.client import Client
from pipelines.settings import Settings
from pipelines.storage import Lake

PULLS = "system.main.pulls"

#: One row a pull that found something new, or moved its position.
PULL: Mapping[str, pl.DataType] = {
    "table_name": pl.String(),
    "pulled_at": pl.Datetime("us", "UTC"),
    "position": pl.String(),
    "page_count": pl.Int64(),
    "item_count": pl.Int64(),
    "row_count": pl.Int64(),
}

_CLUSTER = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull read, and the `rows` that were new; `position` is where the next one goes on."""

    table: str
    pages: int
    items: int
    rows: int
    position: str | None


def pullable(catalog: Catalog) -> list[str]:
    """The silver tables whose contracts name an API."""
    return [
        c.table
        for c in catalog.layer("silver")
        if c.source is not None and c.source.api is not None
    ]


def pull(lake: Lake, catalog: Catalog, table: str, client: Client, *, now: datetime) -> Pulled:
    """Reads what an API has of a table since the last pull.

    Raises:
        ContractError: when the table's contract names no API.
        PullError: when a page is not to be had; those before it are in bronze.
        ConflictError: when another process pulls the same table; running again is right.
    """
    contract = catalog[table]
    api = api_of(contract)
    bronze, began = Bronze(lake, catalog), position_of(lake, table)
    pages = items = rows = 0
    newest = _Newest(contract, api, began)
    for page in client.pages(api, began):
        pages, items = pages + 1, items + len(page)
        told = _texts(page, contract)
        newest.see(told)
        rows += _land(bronze, contract, api, told, int(now.timestamp() * 1000))
    done = Pulled(table=table, pages=pages, items=items, rows=rows, position=newest.position)
    if rows or done.position != began:
        told = (table, now, done.position, pages, items, rows)
        handle = lake.create(PULLS, PULL)
        lake.write(handle, pl.DataFrame([told], schema=PULL, orient="row"), mode="append")
    return done


def api_of(contract: Contract) -> Api:
    """The API that a table's rows are pulled from.

    Raises:
        ContractError: when the contract names none.
    """
    if contract.source is None or contract.source.api is None:
        raise ContractError(
            f"{contract.table}: its contract names no API", hint="write 'source: api'"
        )
    return contract.source.api


def is_reachable(settings: Settings, contract: Contract) -> bool:
    """Whether somebody said where a table's API is."""
    return f"{api_of(contract).name}_url" in settings.apis


def client_of(settings: Settings, contract: Contract) -> Client:
    """The client of a table's API.

    Raises:
        ContractError: when the contract names none.
        SettingsError: when nobody said where it is.
    """
    return Client.of(settings, api_of(contract))


def position_of(lake: Lake, table: str) -> str | None:
    """Where the last pull of a table ended; None before the first."""
    if lake.open(PULLS) is None:
        return None
    own = (
        lake.scan(PULLS)
        .filter(pl.col("table_name") == table)
        .sort("pulled_at", maintain_order=True)
    )
    return own.select(pl.col("position").last()).collect().item()


def _texts(page: list[Any], contract: Contract) -> pl.DataFrame:
    """The page's last word of each key: item and key as JSON texts; items without a whole key one by one.

    Raises:
        PullError: when an item is no object.
    """
    if odd := [number for number, item in enumerate(page, start=1) if not isinstance(item, dict)]:
        raise PullError(f"{contract.table}: item {odd[0]} of a page of its API is no object", hint="is 'api.items' the list of rows?")  # fmt: skip
    values = pl.Series("value", [_json(item) for item in page], dtype=pl.String)
    fields = [contract.field_of(name) for name in contract.key]
    keys, _ = parse(values, dict.fromkeys(fields, pl.String()))
    whole = pl.all_horizontal(pl.col(fields).is_not_null())
    return (
        keys.with_columns(values, pl.struct(fields).struct.json_encode().alias("key"))
        .with_columns(pl.when(whole).then("key").otherwise("value").alias("_who"))
        .unique("_who", keep="last", maintain_order=True)
        .select("key", "value")
    )


def _json(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False, separators=(",", ":"))


def _land(bronze: Bronze, contract: Contract, api: Api, told: pl.DataFrame, at_ms: int) -> int:
    """Lands the items that say something else than their keys said last; how many."""
    topic = contract.source.topic if contract.source else ""
    place, origin = Partition(topic, PULLED), Origin(cluster=_CLUSTER, topic_ids={topic: api.name})
    fresh = told.join(
        _said_last(bronze.lake, contract, told["key"]), on=["key", "value"], how="anti", maintain_order="left"
    )  # fmt: skip
    if not len(fresh):
        return 0
    first = bronze.next_offset(origin, *place) or 0
    offsets = pl.Series(range(first, first + len(fresh)), dtype=pl.Int64)
    landed = bronze.land(
        text_batch(
            fresh, offsets, place=place, origin=origin, next_offset=first + len(fresh), at_ms=at_ms,
            headers=(("api", api.name),),
        )
    )  # fmt: skip
    return landed.rows


def _said_last(lake: Lake, contract: Contract, keys: pl.Series) -> pl.DataFrame:
    """The newest item of each of these keys that was pulled."""
    empty = pl.DataFrame(schema={"key": pl.String(), "value": pl.String()})
    if lake.open(contract.bronze) is None:
        return empty
    return (
        lake.scan(contract.bronze)
        .filter(pl.col("kafka_partition") == PULLED, pl.col("key").is_in(keys.to_list()))
        .group_by("key")
        .agg(pl.col("raw_payload").sort_by("kafka_offset").last().alias("value"))
        .select(empty.columns)
        .collect()
    )


class _Newest:
    """The largest value of the field that rises with changes, by its type, in the API's own writing."""

    def __init__(self, contract: Contract, api: Api, began: str | None) -> None:
        self.position, self._contract = began, contract
        self._column = None
        if api.since is not None:
            fields = {contract.field_of(name): name for name in contract.columns}
            if api.since.field not in fields:
                raise ContractError(
                    f"{contract.path}: 'api.since.field' is '{api.since.field}', which no column takes"
                )
            self._column = fields[api.since.field]

    def see(self, told: pl.DataFrame) -> None:
        """Takes a page's values in."""
        if self._column is None:
            return
        name = self._contract.field_of(self._column)
        found, _ = parse(told["value"], {name: pl.String()})
        texts = pl.concat([found[name], pl.Series(name, [self.position], dtype=pl.String)])
        column, way = (
            self._contract.columns[self._column],
            writings(self._contract, None)[self._column],
        )
        typed = pl.DataFrame({"text": texts}).with_columns(decode(pl.col("text"), column.type, way).alias("typed"))  # fmt: skip
        self.position = typed.drop_nulls("typed").sort("typed").select(pl.col("text").last()).item()
