"""Names of the lake as Dagster asset keys, and back."""

from __future__ import annotations

import dagster as dg


def key_of(table: str) -> dg.AssetKey:
    """The asset key of a table: `silver.commerce.orders` is silver/commerce/orders.

    History is written with its silver table, so whoever reads it waits for that asset.
    """
    layer, *rest = table.split(".")
    return dg.AssetKey(["silver" if layer == "history" else layer, *rest])


def table_of(key: dg.AssetKey) -> str:
    """The table of an asset key."""
    return ".".join(key.path)
