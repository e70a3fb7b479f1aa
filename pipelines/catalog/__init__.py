"""Gathers what the catalog page shows: contracts, lineage, and what the lake says of its tables."""

from pipelines.catalog.gather import site_of

__all__ = ["site_of"]
