"""Pages of reports, one a domain: they open from the disk and need neither a server nor a network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from pipelines.contract import Catalog
from pipelines.errors import QueryError, SettingsError
from pipelines.query import select
from pipelines.report.check import refuse_faulty, tables_in
from pipelines.report.draw import draw
from pipelines.report.spec import Chart, Figures, Report
from pipelines.storage import Lake

#: What the pages share with the catalog, so that both look alike.
_SHARED = ("catalog.css", "theme.js", "inter.woff2", "inter.LICENSE", "jetbrains-mono.woff2", "jetbrains-mono.LICENSE")  # fmt: skip
_SIZE = re.compile(r'^<svg [^>]*?width="[^"]*" height="[^"]*"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page that was written."""

    domain: str
    file: Path
    charts: int
    size_bytes: int
    input_versions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart with its picture, and its numbers as text."""

    chart: Chart
    svg: Markup
    names: Sequence[str]
    rows: Sequence[tuple[str | None, ...]]


def page_of(domain: str) -> str:
    """Where a domain's page lies, from the folder of reports."""
    return f"{domain}.html"


def write_page(
    lake: Lake,
    catalog: Catalog,
    reports: Sequence[Report],
    out: Path,
    now: datetime,
    lists: Sequence[tuple[str, str]] = (),
) -> Page:
    """Writes the page of a domain's reports from gold as it is.

    Args:
        lake: Where gold lies.
        catalog: All contracts, by which the reports are checked first.
        reports: The reports of one domain, at least one.
        out: The folder of reports; made where it is missing.
        now: The time that the page says it was made at.
        lists: Further pages that it leads to: file and title.

    Raises:
        ContractError: when a report shows a classified column, or its SQL is at fault.
        LakeError: when a table it reads is not there yet.
        QueryError: when a query does not run, or gives what cannot be drawn.
        SettingsError: when the folder cannot be written.
    """
    refuse_faulty(catalog, reports)
    tables = sorted({table for report in reports for table in tables_in(report)})
    handles = {table: lake.handle(table) for table in tables}
    frames = {table: lake.scan_handle(handle) for table, handle in handles.items()}
    parts = [
        (
            report,
            figures_of(lake, report.figures, frames) if report.figures else (),
            [drawn(lake, chart, frames) for chart in report.charts],
        )
        for report in reports
    ]
    versions = {table: handle.version() for table, handle in handles.items()}
    domain = reports[0].domain
    text = rendered(
        "report.html", domain=domain, heading=domain.capitalize(), summary="", lists=lists,
        parts=parts, versions=versions, contracts=catalog, now=now,
    )  # fmt: skip
    return Page(
        domain=domain,
        file=out / page_of(domain),
        charts=sum(len(report.charts) for report in reports),
        size_bytes=write_file(out, page_of(domain), text),
        input_versions=versions,
    )


def write_index(out: Path, reports: Mapping[str, Sequence[Report]]) -> Path:
    """The page that leads to those domains' pages that are there."""
    there = {d: found for d, found in reports.items() if (out / page_of(d)).is_file()}
    write_file(out, "index.html", rendered("index.html", reports=there, page_of=page_of))
    return out / "index.html"


def write_file(out: Path, name: str, text: str) -> int:
    """Writes a page into the folder of reports, with what the pages share; its size in bytes.

    Raises:
        SettingsError: when the folder cannot be written.
    """
    shared = resources.files("lineage.catalog").joinpath("static")
    own = resources.files("pipelines.report").joinpath("static", "report.css")
    try:
        (out / "static").mkdir(parents=True, exist_ok=True)
        for each in _SHARED:
            (out / "static" / each).write_bytes(shared.joinpath(each).read_bytes())
        (out / "static" / "report.css").write_bytes(own.read_bytes())
        return (out / name).write_bytes(text.encode("utf-8", "replace"))
    except OSError as error:
        raise SettingsError(
            f"{out}: cannot be written: {error.strerror}", hint="choose another folder with --out"
        ) from error


def rendered(template: str, **given: Any) -> str:
    """The text of a page."""
    return _template(template).render(given)


def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


# ---- PARTS ---- #


def figures_of(
    lake: Lake, figures: Figures, frames: Mapping[str, pl.LazyFrame]
) -> list[tuple[str, str]]:
    """The numbers at a page's head, with their words.

    Raises:
        QueryError: when their SQL does not run, or gives several rows.
    """
    rows = select(lake, figures.sql, frames, tuple(frames))
    if len(rows) > 1:
        raise QueryError(f"figures are of one row, and their SQL gives {len(rows)}")
    values = (
        rows.select(figures.labels.keys()).row(0) if len(rows) else [None] * len(figures.labels)
    )
    return [(label, _number(v)) for label, v in zip(figures.labels.values(), values, strict=True)]


def _number(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int | float | Decimal) else str(value)


def drawn(lake: Lake, chart: Chart, frames: Mapping[str, pl.LazyFrame]) -> Drawn:
    """A chart of these tables.

    Raises:
        QueryError: when its SQL does not run, or gives what cannot be drawn.
    """
    rows = select(lake, chart.sql, frames, tuple(frames))
    svg = draw(chart, rows) if len(rows) else ""
    # The page gives the picture its width; its own proportions stay in the viewBox.
    named = _SIZE.sub(
        lambda found: (
            re.sub(r' (?:width|height)="[^"]*"', "", found[0])
            + f' role="img" aria-labelledby="{chart.name}-title"'
        ),
        svg,
    )
    return Drawn(chart, Markup(named), rows.columns, _texts(rows).rows())  # noqa: S704 - drawn here, Vega escapes texts


def _texts(rows: pl.DataFrame) -> pl.DataFrame:
    """Values as a reader takes them: whole days and instants to the second, numbers exact."""
    kinds = pl.selectors
    return rows.with_columns(
        kinds.datetime().dt.strftime("%Y-%m-%d %H:%M:%S"),
        kinds.float().round(4),
    ).cast(pl.String)
