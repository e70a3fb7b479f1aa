"""The nightly run over every domain: silver of so many rows, one in a hundred of which has changed since.

The rows are the generator's, as a connector's events; each change is an update of a row anywhere. The
night itself is the command that a scheduler runs: capture, apply, build, judge, all of it. Marketing,
documents and devices have the demo's own size: their sources are files of some kilobytes, and streams.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from assets.demo import STORIES
from assets.demo_source import Database, recorded_lines
from assets.generator.copies import copied, copies_for, templates
from pipelines.contract import Catalog, Contract, load_catalog
from pipelines.cut import plan_cut
from pipelines.files.inbox import take_inbox
from pipelines.ingest import capture_file
from pipelines.refine import apply_all, build_all, chosen
from pipelines.storage import Lake

ASSETS = Path(__file__).parents[1] / "assets"
DAY = datetime(2026, 11, 1, 1, tzinfo=UTC)
#: One row in so many changes.
ONE_IN = 100


def prepare(rows: int, folder: str) -> dict[str, Any]:
    """A lake of about so many rows with gold built, and the file of what the next night brings."""
    base = Path(folder)
    catalog, lake = load_catalog(_assets(base / "assets")), Lake(str(base / "lake"))
    inbox, ends = base / "inbox", Counter[str]()
    inbox.mkdir()
    stories = {domain: story.tell(1) for domain, story in STORIES.items()}
    sources = [each for each in stories.values() if isinstance(each, Database)]
    with (base / "night.jsonl").open("w", encoding="utf-8") as night:
        for domain, story in stories.items():
            for name, data in story.files.items() if not isinstance(story, Database) else ():
                (inbox / name).write_bytes(data)
            _land(lake, catalog, base, "\n".join(recorded_lines(story.records)))
            if isinstance(story, Database):
                ends.update(record.topic for record in story.records)
                for piece in _mass(domain, story, catalog, rows // len(sources)):
                    _tell(lake, catalog, base, night, ends, *piece)
    take_inbox(lake, catalog, inbox, now=DAY)
    _refine(lake, catalog)
    counts = [lake.scan(c.table).select(pl.len()).collect().item() for c in catalog.layer("silver")]
    return {"rows": sum(counts)}


def night(folder: str) -> dict[str, Any]:
    """The nightly run, as the command line runs it."""
    from assets.cli import app

    base = Path(folder)
    place = ["--lake", str(base / "lake"), "--assets", str(base / "assets")]
    began, used = time.perf_counter(), time.process_time()
    failed = app(
        ["run", "--from-file", str(base / "night.jsonl"), "--json", *place], standalone_mode=False
    )
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    assert not failed, failed
    lines = sum(1 for _ in (base / "night.jsonl").open("rb"))
    return {"seconds": seconds, "cpu": cpu, "changes": lines}


def _assets(folder: Path) -> Path:
    """Every domain, with decimals as the connector writes them in its mode `string`."""
    for path in ASSETS.glob("*/*/*"):
        if path.suffix in (".yaml", ".sql") and path.parent.name != "source":
            text = path.read_text("utf-8")
            copy = folder / path.relative_to(ASSETS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text.replace("connector: postgres,", "connector: postgres, decimal: string,"))  # fmt: skip
    return folder


def _mass(
    domain: str, story: Database, catalog: Catalog, rows: int
) -> Iterator[tuple[Contract, str, pl.DataFrame]]:
    """A domain's rows, table by table and piece by piece, with their topics."""
    accepted = {
        table: [row for key, row in held.items() if key not in story.notes]
        for table, held in story.truth.items()
    }
    made = templates(story, catalog, domain, accepted, 0)
    count = copies_for(rows, made)
    for table, piece in copied(made, count, nth=0, story_shift=timedelta(0), end=DAY, seed=1):
        yield catalog[f"silver.{domain}.{table}"], story.topic(table), piece


def _tell(
    lake: Lake,
    catalog: Catalog,
    base: Path,
    night: Any,
    ends: Counter[str],
    contract: Contract,
    topic: str,
    piece: pl.DataFrame,
) -> None:
    """Lands a piece as inserts, and writes down the updates of some of its rows for the night."""
    _land(lake, catalog, base, _lines(contract, topic, piece, "c", ends[topic], DAY))
    ends[topic] += len(piece)
    # Beyond all that will be landed: the night's offsets follow, with a gap where rows did not change.
    some = piece.gather_every(ONE_IN).with_columns(_changed(contract, piece))
    later = DAY + timedelta(days=1)
    night.write(_lines(contract, topic, some, "u", 10**9 + ends[topic], later) + "\n")


def _land(lake: Lake, catalog: Catalog, base: Path, lines: str) -> None:
    file = base / "piece.jsonl"
    file.write_text(lines, "utf-8")
    capture_file(lake, catalog, file)
    file.unlink()


def _refine(lake: Lake, catalog: Catalog) -> None:
    names, cut = chosen(catalog, "silver", None), plan_cut(lake, catalog)
    _, failed = apply_all(lake, catalog, names, cut=cut, now=DAY, after=lambda _: None)
    _, more = build_all(lake, catalog, chosen(catalog, "gold", None), now=DAY, after=lambda _: None)
    assert failed | more == {}


# ---- EVENTS ---- #


def _lines(contract: Contract, topic: str, rows: pl.DataFrame, op: str, first: int, at: datetime) -> str:  # fmt: skip
    """Recorded lines of one change a row, from an offset on; each is a transaction of its own."""
    told, place = int(at.timestamp() * 1000), 10**10 + 100 * (pl.row_index() + first)
    lsn = place.cast(pl.String)
    after = pl.struct(_written(name, kind) for name, kind in rows.schema.items())
    value = pl.concat_str(
        pl.lit('{"before":null,"after":'), after.struct.json_encode(),
        pl.lit(f',"source":{{"version":"3.7.0.Final","connector":"postgresql","name":"{topic.partition(".")[0]}","ts_ms":{told},"ts_us":{told}000,"snapshot":"false","db":"bench","sequence":"[\\"'),
        lsn, pl.lit('\\",\\"'), lsn, pl.lit(f'\\"]","schema":"{topic.split(".")[1]}","table":"{topic.split(".")[2]}","txId":'), lsn, pl.lit(',"lsn":'), lsn,
        pl.lit(f'}},"transaction":null,"op":"{op}","ts_ms":{told}}}'),
    )  # fmt: skip
    line = pl.struct(
        pl.lit(topic).alias("topic"),
        pl.lit(0).alias("partition"),
        (pl.row_index() + first).alias("offset"),
        pl.lit(told).alias("timestamp"),
        pl.lit(1).alias("ts_type"),
        pl.struct(contract.key).struct.json_encode().alias("key"),
        value.alias("value"),
    )
    return "\n".join(rows.select(line.struct.json_encode()).to_series().to_list())


def _written(name: str, kind: pl.DataType) -> pl.Expr:
    """A column as the connector writes it."""
    column = pl.col(name)
    if isinstance(kind, pl.Decimal):
        return column.cast(pl.String)
    if isinstance(kind, pl.Datetime):
        zoned = kind.time_zone is not None
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") if zoned else column.dt.epoch("us")
    return column.cast(pl.Int32) if kind == pl.Date else column


def _changed(contract: Contract, rows: pl.DataFrame) -> pl.Expr:
    """What becomes of a row at night: its last time is an hour later, or else something is added to it."""
    free = {n: kind for n, kind in rows.schema.items() if n not in contract.key and n in contract.columns}  # fmt: skip
    times = [name for name, kind in free.items() if isinstance(kind, pl.Datetime)]
    if times:
        return pl.col(times[-1]) + timedelta(hours=1)
    numbers = [name for name, kind in free.items() if kind.is_integer()]
    if numbers:
        return pl.col(numbers[-1]) + 1
    texts = [name for name, kind in free.items() if kind == pl.String]
    return pl.concat_str(pl.col(texts[-1]).fill_null(""), pl.lit("!")).alias(texts[-1])
