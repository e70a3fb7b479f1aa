"""Writes the site: plain files with relative links, which need neither a server nor a network.

Every text may come from a stranger's contract. Pages are made by templates that escape by default,
data for scripts is JSON in which no `<` stands, and a content security policy lets nothing run
but the site's own files.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import SqlLexer

from lineage.catalog import links, words
from lineage.catalog.flows import ClassifiedColumn, Flows, classified_columns
from lineage.catalog.graph_data import graph_data
from lineage.catalog.marks import class_mark, column_link, ends
from lineage.catalog.model import Site, TableEntry
from lineage.catalog.plot import trend
from lineage.graph import ColumnRef
from lineage.privacy import CLASSES

#: The order in which layers are told, and values go.
LAYERS = ("source", "bronze", "silver", "history", "gold", "export")

#: Those of tables with a contract of their own.
DECLARED = ("silver", "gold", "export")

_MARK = ".medallion-catalog"


class NotACatalogError(ValueError):
    """The folder holds files that are no catalog's: writing would mix them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written: pages, files and bytes."""

    pages: int
    size_bytes: int


def write_site(site: Site, out: Path) -> Written:
    """Writes the pages of `site` into `out`; what an older catalog left there goes away.

    Raises:
        NotACatalogError: when `out` holds files and no catalog.
        OSError: when it cannot be written.
    """
    _claim(out)
    flows = Flows(site.lineage)
    environment = _environment(site, flows)
    size = 0
    pages = 0
    for path, template, values in _pages(site, flows):
        root = "../" * path.count("/")
        text = environment.get_template(template).render(root=root, here=path, **values)
        size += _write(out / path, text)
        pages += 1
    size += _write(out / "data" / "search.js", _search(site))
    for name in _static():
        content = resources.files("lineage.catalog").joinpath("static", name).read_bytes()
        (out / "static").mkdir(exist_ok=True)
        size += (out / "static" / name).write_bytes(content)
    return Written(pages=pages, size_bytes=size)


def _claim(out: Path) -> None:
    """An empty folder that is marked as a catalog's."""
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()) and not (out / _MARK).exists():
        raise NotACatalogError(f"{out} holds files, and no catalog")
    for folder in ("tables", "domains", "data", "static"):
        shutil.rmtree(out / folder, ignore_errors=True)
    (out / _MARK).touch()


def _static() -> list[str]:
    folder = resources.files("lineage.catalog").joinpath("static")
    return sorted(entry.name for entry in folder.iterdir() if entry.is_file())


def _write(path: Path, text: str) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A text of a contract may hold half a surrogate pair, which UTF-8 has no form for.
    return path.write_bytes(text.encode("utf-8", "replace"))


def _pages(site: Site, flows: Flows) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    """Each page: its path, its template, and what the template is given."""
    classified = classified_columns(site, flows)
    tables = sorted(site.tables.values(), key=_place)
    yield "index.html", "index.html", {"tables": tables, "leaked": _leaked(classified)}
    yield "lineage.html", "lineage.html", {"graph": graph_data(site)}
    yield "privacy.html", "privacy.html", {"columns": classified, "counted": _counted(tables)}
    for domain in sorted({table.domain for table in tables}):
        inside = [table for table in tables if table.domain == domain]
        names = {table.name for table in inside}
        yield (
            links.domain_page(domain),
            "domain.html",
            {
                "domain": domain,
                "tables": inside,
                "from_outside": _across(site, inside, flows.made_from, names),
                "to_outside": _across(
                    site, inside, lambda table: flows.readers.get(table, ()), names
                ),
                "classified": [column for column in classified if column.table in names],
            },
        )
    for table in tables:
        values = {"table": table, "decides": flows.decided_by(table.name)}
        yield links.table_page(table.name), "table.html", values


def _layers(site: Site) -> tuple[str, ...]:
    """The layers that pages have room for: exports only where there are some."""
    there = {table.layer for table in site.tables.values()}
    return tuple(name for name in LAYERS if name != "export" or name in there)


def _place(table: TableEntry) -> tuple[int, str]:
    """The last layers first: what most readers look for."""
    layer = LAYERS.index(table.layer) if table.layer in LAYERS else len(LAYERS)
    return -layer, table.name


def _counted(tables: Iterable[TableEntry]) -> Counter[tuple[str, str]]:
    """How many columns of each class each layer has; those that the platform adds are nobody's."""
    return Counter(
        (column.classification, table.layer)
        for table in tables
        for column in table.columns
        if not column.added
    )


def _leaked(classified: Iterable[ClassifiedColumn]) -> int:
    return sum(len(column.leaked) for column in classified)


def _across(
    site: Site,
    inside: Iterable[TableEntry],
    ends: Callable[[str], Iterable[str]],
    names: set[str],
) -> list[TableEntry]:
    """The tables of other domains at the other ends."""
    found = {end for table in inside for end in ends(table.name) if end not in names}
    return sorted((site.tables[name] for name in found if name in site.tables), key=_place)


def _environment(site: Site, flows: Flows) -> Environment:
    environment = Environment(
        loader=PackageLoader("lineage.catalog"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "size": words.size,
        "span": words.span,
        "moment": words.moment,
        "sql": _highlighted,
    }
    names: dict[str, Any] = {
        "site": site,
        "flows": flows,
        "layers": _layers(site),
        "declared_layers": DECLARED,
        "classes": CLASSES,
        "domains": sorted({table.domain for table in site.tables.values()}),
        "late": [table for table in site.tables.values() if table.late(site.made_at)],
        "ago": partial(_ago, site.made_at),
        "table_page": links.table_page,
        "domain_page": links.domain_page,
        "column_page": links.column_page,
        "column_id": links.column_id,
        "graph_page": links.graph_page,
        "trend": trend,
        "class_mark": class_mark,
        "column_link": partial(column_link, site.tables),
        "ends": partial(ends, site.tables),
        "flow_key": ColumnRef,
    }
    environment.policies["json.dumps_function"] = _compact
    environment.filters.update(filters)
    environment.globals.update(names)
    return environment


def _ago(now: datetime, at: datetime) -> str:
    return words.about(now - at)


@lru_cache(maxsize=1)
def _formatter() -> Any:
    return HtmlFormatter(nowrap=True, classprefix="sql-")


def _highlighted(sql: str) -> Markup:
    """The SQL with its words marked; pygments escapes the text."""
    return Markup(highlight(sql, SqlLexer(), _formatter()))  # noqa: S704 - escaped by pygments


def _search(site: Site) -> str:
    """The search index as a script, since a page opened from a disk may not fetch."""
    tables = [
        [
            table.name,
            table.layer,
            links.table_page(table.name),
            table.description,
            table.owner,
            # Bronze and history repeat the columns of silver; a source is found by its table.
            [
                [column.name, column.description]
                for column in table.columns
                if not column.added and table.layer in DECLARED
            ],
        ]
        for table in sorted(site.tables.values(), key=_place)
    ]
    return f"window.catalogIndex = {htmlsafe_json_dumps(tables, dumps=_compact)};\n"


def _compact(value: object, **_: object) -> str:
    """JSON in which half a surrogate pair is the question mark that the pages show for it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode("utf-8")
