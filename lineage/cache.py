"""Lineage kept by content: the same SQL over the same columns is traced once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from lineage.columns import Indirect, OutputColumn, SelectLineage, trace
from lineage.flow import Source

Schema = Mapping[str, Collection[str]]
_Kept = tuple[dict[str, list[str]], SelectLineage]


class Traces:
    """`trace` with a memory, and with a folder one that outlives the process.

    A kept lineage holds while the SQL, its dialect, the columns of the tables it reads, this package
    and sqlglot are the same. What is refused is not kept. Files may be removed at any time.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._kept: dict[str, _Kept] = {}

    def trace(self, sql: str, schema: Schema, dialect: str | None = None) -> SelectLineage:
        """As `lineage.columns.trace`.

        Raises:
            LineageError: As for `trace`.
        """
        key = hashlib.sha256(f"{_code()}\n{dialect}\n{sql}".encode()).hexdigest()
        kept = self._kept.get(key) or self._read(key)
        if kept is None or any(list(schema.get(t, ())) != read for t, read in kept[0].items()):
            lineage = trace(sql, schema, dialect)
            kept = {table: list(schema[table]) for table in lineage.tables}, lineage
            self._write(key, kept)
        self._kept[key] = kept
        return kept[1]

    def _read(self, key: str) -> _Kept | None:
        if self._folder is None:
            return None
        try:
            given = json.loads((self._folder / f"{key}.json").read_text("utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return given["read"], _lineage(given["lineage"])

    def _write(self, key: str, kept: _Kept) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        # A reader sees the whole file or none.
        beside = self._folder / f"{uuid4().hex}.tmp"
        text = json.dumps({"read": kept[0], "lineage": asdict(kept[1])}, ensure_ascii=False)
        beside.write_text(text, "utf-8")
        beside.replace(self._folder / f"{key}.json")


def _lineage(given: Mapping[str, Any]) -> SelectLineage:
    outputs = (
        OutputColumn(each["name"], tuple(Source(**source) for source in each["sources"]))
        for each in given["outputs"]
    )
    indirect = (
        Indirect(
            each["table"], each["column"], each["kind"], each["outputs"] and tuple(each["outputs"])
        )
        for each in given["indirect"]
    )
    return SelectLineage(tuple(outputs), tuple(indirect), tuple(given["tables"]))


@cache
def _code() -> str:
    """What lineage depends on beside its input: this package's own text, and sqlglot."""
    own = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return f"{hashlib.sha256(own).hexdigest()} {version('sqlglot')}"
