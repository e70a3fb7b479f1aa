"""A page for each row of a gold table: the same charts and a summary in words, of that row alone.

The SQL of such a report is written as if gold held one row's data alone: before it runs, every table that
has the key's column is filtered by the row's key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import StrictUndefined, TemplateError, UndefinedError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import Field

from pipelines.contract import Catalog, did_you_mean
from pipelines.contract.base import Strict, TableName
from pipelines.errors import ContractError, QueryError
from pipelines.query import select
from pipelines.report.check import refuse_faulty, tables_in
from pipelines.report.page import drawn, figures_of, rendered, write_file
from pipelines.report.spec import Report, Sql, load_folder
from pipelines.report.writer import AsDrafted, Writer, written
from pipelines.storage import Lake

#: More pages are no report that somebody reads.
MOST_PAGES = 1000


class Of(Strict):
    """The rows that have a page each."""

    table: TableName
    key: str = Field(
        description="The column that tells them apart, and filters the tables that have it."
    )
    name: str = Field(description="The column that a page is headed by.")


class Summary(Strict):
    """A few sentences: a template over the columns of one row."""

    sql: Sql
    text: str = Field(
        min_length=1,
        description="A Jinja template; `{{ spend | number(2) }}` writes a number, `{% if roi is not none %}` asks.",
    )


class EachReport(Report):
    """`<domain>/reports/each/<name>.yaml`: a page for each row."""

    of: Of
    summary: Summary

    @property
    def domain(self) -> str:
        """The folder it belongs to."""
        return self.path.parent.parent.parent.name

    def queries(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """The SQL of each part, and the columns that are shown of it."""
        rows = f"SELECT t.{self.of.key}, t.{self.of.name} FROM {self.of.table} AS t"  # noqa: S608 - names of a contract
        return {**super().queries(), "summary": (self.summary.sql, ()), "of": (rows, (self.of.key, self.of.name))}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """The pages of a report, and the one that leads to them."""

    domain: str
    name: str
    listing: Path
    count: int
    input_versions: Mapping[str, int]


def load_each(root: Path) -> Mapping[str, tuple[EachReport, ...]]:
    """The reports with a page each row, by domain.

    Raises:
        ContractError: one error that lists every fault found, each with file, line and hint.
    """
    return load_folder(root, "*/reports/each/*.yaml", EachReport)


def listing_of(report: EachReport) -> str:
    """Where the page lies that leads to the others, from the folder of reports."""
    return f"{report.domain}.{report.name}.html"


def write_each(
    lake: Lake,
    catalog: Catalog,
    report: EachReport,
    out: Path,
    now: datetime,
    writer: Writer | None = None,
) -> Pages:
    """Writes a page for each row, and takes away those of rows that are gone.

    Args:
        lake: Where gold lies.
        catalog: All contracts, by which the report is checked first.
        report: What the pages show.
        out: The folder of reports; made where it is missing.
        now: The time that the pages say they were made at.
        writer: Who puts the summaries into words; the template alone when left out.

    Raises:
        ContractError: when it shows a classified column, or its SQL or its template is at fault.
        LakeError: when a table it reads is not there yet.
        QueryError: when a query does not run, or there are too many rows.
        SettingsError: when the folder cannot be written.
    """
    refuse_faulty(catalog, [report])
    handles = {table: lake.handle(table) for table in tables_in(report)}
    versions = {table: handle.version() for table, handle in handles.items()}
    frames = {table: lake.scan_handle(handle) for table, handle in handles.items()}
    rows = frames[report.of.table].select(report.of.key, report.of.name).unique().sort(pl.all()).collect()  # fmt: skip
    if len(rows) > MOST_PAGES:
        raise QueryError(
            f"{report.path}: {len(rows):,} rows would have a page each; at most {MOST_PAGES:,} are written",
            hint="let 'of: table' be a gold table of those that matter",
        )
    told = [
        (_slug(str(key)), str(name), str(key), _page(lake, catalog, report, frames, versions, key, str(name), now, writer))
        for key, name in rows.rows()
    ]  # fmt: skip
    stem = f"{report.domain}.{report.name}"
    for slug, _, _, (text, _) in told:
        write_file(out, f"{stem}.{slug}.html", text)
    entries = [
        (f"{stem}.{slug}.html", name, key, summary) for slug, name, key, (_, summary) in told
    ]
    write_file(out, listing_of(report), rendered("each.html", report=report, entries=entries, now=now))  # fmt: skip
    written_now = {href for href, *_ in entries} | {listing_of(report)}
    for gone in {path.name for path in out.glob(f"{stem}.*.html")} - written_now:
        (out / gone).unlink()
    return Pages(
        domain=report.domain, name=report.name, listing=out / listing_of(report), count=len(told), input_versions=versions
    )  # fmt: skip


def _page(
    lake: Lake,
    catalog: Catalog,
    report: EachReport,
    frames: Mapping[str, pl.LazyFrame],
    versions: Mapping[str, int],
    key: Any,
    name: str,
    now: datetime,
    writer: Writer | None,
) -> tuple[str, str]:
    """The page of one row, and its summary."""
    own = {
        table: frame.filter(pl.col(report.of.key) == key) if report.of.key in catalog[table].columns else frame
        for table, frame in frames.items()
    }  # fmt: skip
    summary = _summary(lake, report, own, writer or AsDrafted())
    figures = figures_of(lake, report.figures, own) if report.figures else ()
    parts = [(report, figures, [drawn(lake, chart, own) for chart in report.charts])]
    text = rendered(
        "report.html", domain=report.domain, heading=name, summary=summary, lists=[(listing_of(report), "All pages")],
        parts=parts, versions=versions, contracts=catalog, now=now,
    )  # fmt: skip
    return text, summary


def _summary(
    lake: Lake, report: EachReport, frames: Mapping[str, pl.LazyFrame], writer: Writer
) -> str:
    rows = select(lake, report.summary.sql, frames, tuple(frames))
    if len(rows) != 1:
        raise QueryError(f"{report.path}: a summary is of one row, and its SQL gives {len(rows)}")
    facts = dict(zip(rows.columns, rows.row(0), strict=True))
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    environment.filters["number"] = _number
    try:
        draft = " ".join(environment.from_string(report.summary.text).render(facts).split())
    except UndefinedError as error:
        unknown = next(iter(re.findall(r"'([^']*)'", str(error))), "")
        raise ContractError(f"{report.path}: summary: {error}", hint=did_you_mean(unknown, facts)) from error  # fmt: skip
    except (TemplateError, TypeError, ValueError) as error:
        raise ContractError(f"{report.path}: summary: {error}") from error
    return written(writer, draft, facts)


def _number(value: Any, places: int = 0) -> str:
    return "nothing known" if value is None else f"{value:,.{places}f}"


def _slug(key: str) -> str:
    """A key as a part of a file's name, its own whatever letters it has."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", key)
    return plain if plain == key else f"{plain}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
