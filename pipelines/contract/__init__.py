"""Contracts: what each table promises, read from YAML and checked before anything runs."""

from pipelines.contract.base import did_you_mean
from pipelines.contract.load import Catalog, load_catalog, load_contract
from pipelines.contract.model import AUDIT_COLUMNS, Column, Contract
from pipelines.contract.source import Source
from pipelines.contract.types import DataType, parse_type

__all__ = [
    "AUDIT_COLUMNS",
    "Catalog",
    "Column",
    "Contract",
    "DataType",
    "Source",
    "did_you_mean",
    "load_catalog",
    "load_contract",
    "parse_type",
]
