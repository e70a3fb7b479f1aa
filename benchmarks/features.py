"""Features read online: one key at a time out of a table of any size, some rows of which have moved."""

from __future__ import annotations

import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.contract import Contract, load_catalog
from pipelines.difference import write_difference
from pipelines.features import OnlineFeatures, feature_table
from pipelines.storage import Lake

NOW = datetime(2026, 6, 6, tzinfo=UTC)
READS = 300


def read_online(rows: int) -> dict[str, float]:
    """Milliseconds of the first read, which makes the index, and of the median and slowest of the later ones."""
    contract = feature_table(load_catalog(Path(__file__).parents[1] / "assets"))
    chance = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as folder:
        lake, made = Lake(folder), _rows(contract, rows, chance)
        changed = made.with_columns(
            pl.when(pl.int_range(pl.len()) % 100 == 0)
            .then(pl.col("lifetime_order_count") + 1)
            .otherwise("lifetime_order_count")
            .alias("lifetime_order_count")
        )
        for version in (made, changed):
            write_difference(lake, contract, version, existing=lake.open(contract.table), part=None, batch_id="b", metadata={})  # fmt: skip
        online = OnlineFeatures(lake, contract)
        sought = chance.choice(made["customer_id"].to_numpy(), READS + 1)
        taken = [_timed(online, str(key)) for key in sought]
    later = sorted(taken[1:])
    return {"first": taken[0], "p50": later[READS // 2], "p99": later[READS * 99 // 100]}


def _timed(online: OnlineFeatures, key: str) -> float:
    began = time.perf_counter()
    assert len(online.get([key])) == 1
    return (time.perf_counter() - began) * 1000


def _rows(contract: Contract, rows: int, chance: np.random.Generator) -> pl.DataFrame:
    number = chance.integers(0, 60, rows)
    return pl.DataFrame(
        {
            "customer_id": [str(uuid.UUID(bytes=chance.bytes(16))) for _ in range(rows)],
            "as_of": pl.repeat(NOW, rows, eager=True),
            "order_count_last_30_days": number // 9,
            "total_spent_last_30_days": number * 7,
            "avg_order_value": number,
            "preferred_category": chance.choice(["Books", "Garden", "Music"], rows).tolist(),
            "lifetime_segment": chance.choice(["new", "loyal"], rows).tolist(),
            "lifetime_order_count": number,
            "lifetime_value": number * 40,
            "features_updated_at": pl.repeat(NOW, rows, eager=True),
            "feature_version": pl.repeat(contract.version, rows, eager=True),
        }
    ).select(pl.col(n).cast(column.type.stored) for n, column in contract.columns.items())
