"""What a step's contract, tables and report say of it, as facts for OpenLineage."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lineage.graph import TableLineage
from lineage.openlineage.facts import (
    Check,
    ColumnFact,
    DatasetFact,
    Failure,
    JobFact,
    Place,
    place_below,
    place_in_kafka,
    place_in_lake,
)
from pipelines.contract import Catalog, Column, Contract
from pipelines.errors import MedallionError
from pipelines.export import Exported
from pipelines.gold import Built
from pipelines.plan import parents_of
from pipelines.provenance import columns_of, lineage_of, source_of
from pipelines.silver import Applied
from pipelines.storage import Lake
from quality_rules.results import RuleResult

_VERBS = {"bronze": "capture", "silver": "apply", "gold": "build", "export": "export"}

#: What a step says that it did.
Report = Applied | Built | Exported


@dataclass(frozen=True)
class RunFacts:
    """The facts of the steps of one run; `files` are recorded streams read instead of `bootstrap`."""

    lake: Lake
    catalog: Catalog
    bootstrap: str | None = None
    files: tuple[Path, ...] = field(default=())
    streaming: bool = False
    exports: str = ""

    @cached_property
    def _lineage(self) -> Mapping[str, TableLineage]:
        return lineage_of(self.catalog)

    @cached_property
    def _schemas(self) -> Mapping[str, Mapping[str, str]]:
        return columns_of(self.catalog)

    @cached_property
    def _by_bronze(self) -> Mapping[str, Contract]:
        return {contract.bronze: contract for contract in self.catalog.layer("silver")}

    def _contract(self, table: str) -> Contract:
        return self._by_bronze.get(table) or self.catalog[table.replace("history.", "silver.", 1)]

    def job(self, table: str) -> JobFact:
        """The job that makes a table; its code is the contract, or the SQL beside it."""
        from lineage.openlineage.code import code_of

        contract, layer = self._contract(table), table.split(".")[0]
        path = contract.path.with_suffix(".sql") if contract.sql else contract.path
        return JobFact(
            name=f"{_VERBS[layer]}.{table}",
            type=_VERBS[layer].upper(),
            description=contract.description,
            owner=_owner(contract),
            sql=contract.sql,
            source=None if contract.sql else ("yaml", contract.path.read_text("utf-8")),
            code=code_of(path),
            streaming=self.streaming,
        )

    def checks_job(self, table: str) -> JobFact:
        """The job that judges a table by its rules."""
        owner = _owner(self._contract(table))
        description = f"The rules of {table}."
        return JobFact(name=f"check.{table}", type="TEST", description=description, owner=owner)

    def inputs(self, table: str, report: Report | None) -> tuple[DatasetFact, ...]:
        """What a step reads, at the versions that its report names."""
        lineage, contract = self._lineage[table], self._contract(table)
        if table in self._by_bronze:
            return self._origins(contract)
        versions: Mapping[str, int | None] = {}
        if isinstance(report, Built | Exported):
            versions = report.input_versions
        elif isinstance(report, Applied):
            versions = {contract.bronze: report.bronze_version}
        names = [*lineage.inputs, *(parents_of(contract) if contract.layer == "silver" else ())]
        return tuple(self.table(name, versions.get(name)) for name in names)

    def _origins(self, contract: Contract) -> tuple[DatasetFact, ...]:
        """Where a bronze table's records come from: its topic, or recorded files."""
        fields = tuple(
            replace(_column(name, column), name=contract.field_of(name))
            for name, column in contract.columns.items()
        )
        return tuple(
            DatasetFact(place=place, format="kafka" if not self.files else None, columns=fields)
            for place in self._origin_places(contract)
        )

    def _origin_places(self, contract: Contract) -> tuple[Place, ...]:
        if self.files:
            return tuple(Place("file", str(path.absolute())) for path in self.files)
        topic = contract.source.topic if contract.source else ""
        return (place_in_kafka(self.bootstrap or "", topic),)

    def table(self, table: str, version: int | None = None) -> DatasetFact:
        """A table of the lake."""
        return DatasetFact(
            place=place_in_lake(self.lake.root, table),
            table=table,
            format="delta",
            columns=self._columns(table),
            version=None if version is None else str(version),
        )

    def _columns(self, table: str) -> tuple[ColumnFact, ...]:
        told = {} if table in self._by_bronze else self._contract(table).columns
        put_on = table.startswith(("gold.", "export."))  # silver's mask is a rule for these
        return tuple(
            _column(name, told[name], masked=put_on and told[name].mask is not None)
            if name in told
            else ColumnFact(name=name, type=dtype)
            for name, dtype in self._types(table).items()
        )

    def _types(self, table: str) -> Mapping[str, str]:
        if table in self._schemas:
            return self._schemas[table]
        return {name: str(column.type) for name, column in self._contract(table).columns.items()}

    def outputs(
        self, table: str, report: Report | None, before: int | None
    ) -> tuple[DatasetFact, ...]:
        """What a step writes, silver with its history.

        Args:
            table: The table.
            report: What the step says it did; of a capture None.
            before: The table's version before the step, None where there was none.
        """
        contract = self._contract(table)
        with_history = contract.layer == "silver" and contract.history and table == contract.table
        names = [table, *([contract.sibling("history")] if with_history else ())]
        return tuple(
            replace(
                self._exported(contract, report)
                if contract.export
                else self.table(name, self.version(name)),
                rows_written=self._written(name, report, before) if name == table else None,
                description=contract.description,
                owner=_owner(contract),
                lineage=self._lineage[name],
                places={each: self._place(each, contract) for each in self._lineage[name].inputs},
            )
            for name in names
        )

    def _exported(self, contract: Contract, report: Report | None) -> DatasetFact:
        """The file of an export; its content tells one version from another."""
        return DatasetFact(
            place=place_below(self.exports, contract.export_file),
            table=contract.table,
            format=contract.export and contract.export.format,
            columns=self._columns(contract.table),
            version=report.sha256 if isinstance(report, Exported) else None,
        )

    def _place(self, name: str, contract: Contract) -> Place:
        if name == source_of(contract):
            return self._origin_places(contract)[0]
        return place_in_lake(self.lake.root, name)

    def version(self, table: str) -> int | None:
        """The table's version now; None where there is none that can be read."""
        try:
            return self.lake.version(table)
        except MedallionError:
            return None

    def _written(self, table: str, report: Report | None, before: int | None) -> int | None:
        """Rows that the step wrote, where it is known."""
        if isinstance(report, Built):
            return report.rows if report.changed else 0
        if isinstance(report, Exported):
            return report.rows if report.changed else 0
        if isinstance(report, Applied):
            return report.kept
        handle = self.lake.open(table) if table in self._by_bronze else None
        if handle is None:
            return None
        # Captures only append: what the commits since then say they added. Version 0 made the table.
        news = handle.version() - (before or 0)
        added = [each.get("operationMetrics", {}) for each in handle.history(news)] if news else []
        return sum(int(each.get("num_added_rows", 0)) for each in added)


def failure_of(error: BaseException) -> Failure:
    """An error in words that hold no row's values.

    Our own errors promise that; the text of others, and of ours that quote another, may hold a
    value, so only the kind of error and the lines of code are told.
    """
    kind = type(error).__name__
    if isinstance(error, MedallionError) and error.__cause__ is None:
        message = f"{kind}: {error}"
    elif hasattr(error, "exit_code") and not isinstance(error, MedallionError):
        message = f"the command ended with exit code {getattr(error, 'exit_code', 1)}"
    else:
        message = f"{kind}: its text stands in the run's own log"
    trace = "".join(traceback.format_tb(error.__traceback__))
    return Failure(message=message, trace=trace or None)


def _column(name: str, column: Column, *, masked: bool = False) -> ColumnFact:
    return ColumnFact(
        name=name,
        type=str(column.type),
        description=column.description,
        classification=column.classification,
        masked=masked,
    )


def check_of(result: RuleResult) -> Check:
    """A rule's verdict, without the keys of the rows that break it."""
    return Check(
        name=result.rule.name,
        kind=result.rule.kind.value,
        columns=result.rule.columns,
        severity="error" if result.rule.severity.value == "error" else "warn",
        record_count=result.record_count,
        failed_count=result.failed_count,
        passed=result.passed,
        on_table=result.rule.on_table,
        description=result.rule.description,
    )


def _owner(contract: Contract) -> str:
    return contract.owner if "@" in contract.owner else f"team:{contract.owner}"
