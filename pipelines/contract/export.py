"""Where an export goes: the format of its file, and its name below the folder of exports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipelines.contract.base import Strict, misplaced
from pipelines.contract.types import DataType

FileFormat = Literal["csv", "parquet", "jsonl"]

#: Names of folders and files that every store takes as they are; none begins with a dot.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*")


def _below(path: str) -> str:
    if not all(_PART.fullmatch(part) for part in path.split("/")):
        raise ValueError(
            f"'{path}' is no name below the folder of exports; write it as in 'finance/daily.csv'"
        )
    return path


#: What a table keeps and a file does not, of a contract and of a column.
_TABLES_KEEP = {"surrogate_key", "batch_id", "tenant", "history", "freshness", "rules"}
_RULES = {"required", "min", "max", "pattern", "values", "unique"}


class Export(Strict):
    """The file that an export writes, below the folder or URL that the operator names."""

    format: FileFormat = Field(description="jsonl: one JSON object a line.")
    path: Annotated[str, AfterValidator(_below)] | None = Field(
        default=None, description="The file; <domain>/<name>.<format> when left out."
    )

    def fault(self, kind: DataType) -> str | None:
        """Why the format cannot hold a column of this type exactly; None: it can."""
        if self.format == "parquet":
            return None
        if _holds_binary(kind):
            return f"{self.format} has no form for binary; export parquet, or text made of it"
        if self.format == "csv" and (kind.item is not None or kind.kind == "struct"):
            return f"csv has no form for {kind}; export jsonl or parquet"
        return None

    def refuse_unkept(
        self, told: Iterable[str], columns: Mapping[str, tuple[DataType, Set[str]]]
    ) -> None:
        """Nothing, when the contract promises nothing that the file does not keep.

        Args:
            told: The keys that the contract has.
            columns: The type of each column, and the keys that it has.

        Raises:
            PydanticCustomError: with the place of what is promised.
        """
        if unkept := sorted(_TABLES_KEEP & set(told)):
            fault = f"an export has no '{unkept[0]}': the tables that it reads may"
            raise misplaced(fault, place=(unkept[0],))
        for name, (kind, keys) in columns.items():
            rules = sorted(_RULES & keys)
            kept = (
                f"an export has no rules, as '{rules[0]}': the tables that it reads have"
                if rules
                else None
            )
            if fault := kept or self.fault(kind):
                raise misplaced(fault, place=("columns", name))


def _holds_binary(kind: DataType) -> bool:
    inner = [*kind.fields.values(), *([kind.item] if kind.item else [])]
    return kind.kind == "binary" or any(map(_holds_binary, inner))
