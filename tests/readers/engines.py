"""Spark and DuckDB on Delta tables, in an environment of their own: a request as JSON a line, an answer a line.

    python engines.py JAR,JAR
    {"engine": "spark", "do": "read", "table": FOLDER, "version": 3, "into": FILE}
    {"engine": "spark", "do": "merge", "table": FOLDER, "rows": FILE, "key": NAME}

`read` writes the rows of a version as Parquet, `merge` upserts the rows of a Parquet file by a key. Each
answers with the seconds that it took, on the clock and (Spark, on Linux) of processor, or with an error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_delta


@cache
def spark(jars: str) -> Any:
    """A session on two cores, as Delta's documentation sets one up, with few tasks for so little data."""
    from pyspark.sql import SparkSession

    wanted = {
        "spark.jars": jars,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.driver.memory": "6g",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.ui.enabled": "false",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in wanted.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    return session


@cache
def duck() -> duckdb.DuckDBPyConnection:
    """A connection with the Delta extension, which a package brings."""
    folder = Path(duckdb_extension_delta.__file__).parent
    (extension,) = folder.rglob("delta.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    return connection


def read(asked: dict[str, Any], jars: str) -> None:
    """The rows of a table's version, as Parquet."""
    table, version, into = asked["table"], asked["version"], asked["into"]
    if asked["engine"] == "duckdb":
        rows = f"SELECT * FROM delta_scan('{table}', version = {int(version)})"
        duck().execute(f"COPY ({rows}) TO '{into}' (FORMAT parquet)")
        return
    frame = spark(jars).read.format("delta").option("versionAsOf", version).load(table)
    frame.coalesce(1).write.mode("overwrite").parquet(into)


def merge(asked: dict[str, Any], jars: str) -> None:
    """An upsert by Delta's own MERGE."""
    session, key = spark(jars), asked["key"]
    session.read.parquet(asked["rows"]).createOrReplaceTempView("changes")
    session.sql(
        f"MERGE INTO delta.`{asked['table']}` t USING changes s ON t.{key} = s.{key} "
        "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    ).collect()


def processor_seconds(jars: str) -> float:
    """What Spark's process has used so far (proc(5): fields 14 and 15, in ticks)."""
    told = Path(f"/proc/{spark(jars).sparkContext._gateway.proc.pid}/stat").read_text()
    user, system = told.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Answers until the input ends."""
    jars, on_linux = sys.argv[1], Path("/proc/self/stat").exists()
    for line in sys.stdin:
        asked = json.loads(line)
        watched = on_linux and asked["engine"] == "spark"
        try:
            used, began = processor_seconds(jars) if watched else 0.0, time.perf_counter()
            {"read": read, "merge": merge}[asked["do"]](asked, jars)
            answer: dict[str, Any] = {"seconds": time.perf_counter() - began}
            answer["cpu"] = processor_seconds(jars) - used if watched else 0.0
        except Exception as error:  # noqa: BLE001 - whatever an engine raises is its answer
            answer = {"error": f"{type(error).__name__}: {str(error)[:2000]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
