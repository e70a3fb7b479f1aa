"""The stories that the demo tells, what it shows of the lake afterwards, and the proof that it is right."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl
from rich.console import Console

from assets import (
    demo_documents,
    demo_interactions,
    demo_marketing,
    demo_research,
    demo_shop,
    demo_tasks,
)
from assets.demo_order_events import REGISTRY
from assets.demo_source import Record, Row
from lineage.graph import ColumnRef, LineageGraph
from lineage.render import tree
from pipelines.contract import Catalog, Contract, did_you_mean
from pipelines.errors import MedallionError, SettingsError
from pipelines.provenance import lineage_of
from pipelines.quality import RESULTS
from pipelines.query import query
from pipelines.storage import Lake

out = Console(soft_wrap=True)

_HERE = Path(__file__).resolve().parent


class Told(Protocol):
    """What a story sends, by Kafka and as uploaded files, and the rows it ends in by their key's text."""

    records: list[Record]
    files: dict[str, bytes]
    truth: dict[str, dict[str, Row]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A domain's demo: `tell` makes its change stream from a seed, the rest is what is shown of it."""

    domain: str
    title: str
    tell: Callable[[int], Told]
    gold: str
    """A query over one of its gold tables, which it is shown under."""
    number: ColumnRef
    """The column whose origin is drawn."""
    beside: Callable[[int], Told] | None = None
    """What other sources than the domain's database send."""
    registry: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict[str, Mapping[str, object]]
    )
    """The schema registry of its Avro messages, as a file holds it."""

    def told(self, seed: int) -> Told:
        """All that the story sends, in the order of time."""
        if self.beside is None:
            return self.tell(seed)
        both = (self.tell(seed), self.beside(seed))
        records = [record for each in both for record in each.records]
        return _Together(
            records=sorted(records, key=lambda record: record.timestamp_ms),
            files={name: data for each in both for name, data in each.files.items()},
            truth={table: rows for each in both for table, rows in each.truth.items()},
        )


@dataclass(slots=True, kw_only=True)
class _Together:
    records: list[Record]
    files: dict[str, bytes]
    truth: dict[str, dict[str, Row]]


STORIES: Mapping[str, Story] = {
    story.domain: story
    for story in (
        Story(
            domain="commerce",
            title="A shop of five days",
            tell=lambda seed: demo_shop.generate(seed=seed),
            gold="SELECT order_date_key, order_count, total_revenue, avg_order_value, unique_customers FROM gold.commerce.daily_sales ORDER BY order_date_key",
            number=ColumnRef("gold.commerce.daily_sales", "total_revenue"),
            beside=lambda seed: demo_documents.generate(seed=seed),
            registry=REGISTRY,
        ),
        Story(
            domain="tasks",
            title="A task system of six weeks",
            tell=lambda seed: demo_tasks.generate(seed=seed),
            gold="SELECT project_name, status, tasks_total, tasks_completed, tasks_open, tasks_overdue, progress_percent FROM gold.tasks.project_progress ORDER BY project_name",
            number=ColumnRef("gold.tasks.project_progress", "progress_percent"),
        ),
        Story(
            domain="interactions",
            title="An interaction system of two months, and the ten years before",
            tell=lambda seed: demo_interactions.generate(seed=seed),
            gold="SELECT site_name, is_active, members, interactions_active, interactions_archived, interactions_deleted, last_active_at FROM gold.interactions.site_overview ORDER BY site_name",
            number=ColumnRef("gold.interactions.site_overview", "last_active_at"),
        ),
        Story(
            domain="marketing",
            title="A marketing department's seven months",
            tell=lambda seed: demo_marketing.generate(seed=seed),
            gold="SELECT campaign_name, channel, status, days, new_customers, spend_eur, revenue_eur, ROUND(roi, 2) AS roi FROM gold.marketing.campaign_performance ORDER BY campaign_id",
            number=ColumnRef("gold.marketing.campaign_performance", "roi"),
        ),
        Story(
            domain="research",
            title="A research system of two months, with people who withdraw their consent",
            tell=lambda seed: demo_research.generate(seed=seed),
            gold="SELECT study_id, study_type, visits, applications, approved, completions, completion_percent FROM gold.research.study_funnel ORDER BY study_id",
            number=ColumnRef("gold.research.study_funnel", "completion_percent"),
        ),
    )
}


def chosen_stories(domains: Sequence[str]) -> list[Story]:
    """The stories of these domains, or the shop's; `all` names every one.

    Raises:
        SettingsError: when there is none of a name.
    """
    for domain in domains:
        if domain not in (*STORIES, "all"):
            raise SettingsError(
                f"there is no demo of '{domain}'", hint=did_you_mean(domain, STORIES)
            )
    if "all" in domains:
        return list(STORIES.values())
    return [STORIES[domain] for domain in dict.fromkeys(domains)] or [STORIES["commerce"]]


def assets_of(stories: Sequence[Story], folder: Path) -> Path:
    """A folder of contracts with the stories' domains alone."""
    folder.mkdir(parents=True)
    for story in stories:
        (folder / story.domain).symlink_to(_HERE / story.domain, target_is_directory=True)
    return folder.absolute()


def fill_inbox(told: Sequence[Told], folder: Path) -> None:
    """Puts the stories' files into a folder, in their order, as if they had come a while ago."""
    folder.mkdir(parents=True)
    files = [pair for each in told for pair in each.files.items()]
    since = time.time() - 60 - len(files)
    for number, (name, data) in enumerate(files):
        (folder / name).write_bytes(data)
        os.utime(folder / name, (since + number, since + number))


def write_registry(stories: Sequence[Story], file: Path) -> Path:
    """A file of the schemas that the stories' Avro messages are written with."""
    told = {
        part: {
            key: value for story in stories for key, value in story.registry.get(part, {}).items()
        }
        for part in ("schemas", "subjects", "compatibility")
    }
    file.write_text(json.dumps(told))
    return file.absolute()


# ---- SHOW ---- #

_QUALITY = f"""
SELECT table_name, rule_name, severity, record_count, failed_count, success_rate
FROM {RESULTS} WHERE failed_count > 0 ORDER BY table_name, rule_name
"""  # noqa: S608 - a constant
_LETTERS = (
    "SELECT topic, kafka_offset, reason FROM system.main.dead_letters ORDER BY kafka_offset, topic"
)


def show(lake: Lake, catalog: Catalog, stories: Sequence[Story]) -> None:
    """Prints gold, quarantine, broken rules, dead letters, and where a number comes from."""
    for story in stories:
        _print(f"{story.number.table}, from its SQL", query(lake, story.gold))
    _print(
        "Quarantine: rows that break an error rule, kept apart until they are mended",
        pl.concat([_waiting(lake, contract) for contract in catalog.layer("silver")])
        .sort("table", "issues", "key")
        .collect(),
    )
    _print("Rules that some rows break", query(lake, _QUALITY))
    _print("Dead letters: messages and files that no table can take", query(lake, _LETTERS))
    graph = LineageGraph.of(list(lineage_of(catalog).values()))
    out.print("\n[bold]Where a number comes from[/bold]")
    for story in stories:
        out.print(tree(graph, story.number), highlight=False)


def _waiting(lake: Lake, contract: Contract) -> pl.LazyFrame:
    return lake.scan(contract.sibling("quarantine")).select(
        pl.lit(contract.table.removeprefix("silver.")).alias("table"),
        pl.col(contract.key[0]).cast(pl.String).alias("key"),
        pl.col("quality_issues").list.join(", ").alias("issues"),
    )


def _print(title: str, rows: pl.DataFrame) -> None:
    out.print(f"\n[bold]{title}[/bold]")
    with pl.Config(
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_rows=20,
        fmt_str_lengths=60,
        tbl_width_chars=160,
    ):
        out.print(str(rows), highlight=False)


# ---- PROVE ---- #


def prove(lake: Lake, catalog: Catalog, told: Mapping[str, Told]) -> None:
    """Law 2, before your eyes: silver and quarantine together are the source, and share no key.

    Raises:
        MedallionError: when they are not.
    """
    out.print("\n[bold]Silver + quarantine = source[/bold]")
    for domain, database in told.items():
        for table, rows in database.truth.items():
            contract = catalog[f"silver.{domain}.{table}"]
            kept, waiting = _by_key(lake, contract, "silver"), _by_key(lake, contract, "quarantine")
            different = [
                key
                for key, row in kept.items()
                if any(row[name] != rows[key][name] for name in contract.columns if key in rows)
            ]
            if kept.keys() | waiting.keys() != rows.keys() or kept.keys() & waiting or different:
                raise MedallionError(
                    f"{contract.table}: silver and quarantine are not the source",
                    hint="this is a fault of ours; please report it",
                )
            out.print(
                f"  {table:<17} {len(kept):>5,} kept + {len(waiting)} quarantined = {len(rows):,} rows, every value equal"
            )


def _by_key(lake: Lake, contract: Contract, layer: str) -> dict[str, dict[str, object]]:
    rows = lake.scan(contract.sibling(layer)).collect().iter_rows(named=True)
    return {"/".join(str(row[name]) for name in contract.key): row for row in rows}
