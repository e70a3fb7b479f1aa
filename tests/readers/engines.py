"""Spark and DuckDB on Delta tables, in an environment of their own: a request as JSON a line, an answer a line.

    python engines.py JAR,JAR
    {"engine": "spark", "do": "read", "table": FOLDER, "version": 3, "into": FILE}
    {"engine": "spark", "do": "merge", "table": FOLDER, "rows": FILE, "key": NAME}

`read` writes the rows of a version as Parquet, `merge` upserts the rows of a Parquet file by a key. Each
answers with the seconds that it took, or with an error.
"""

from __future__ import annotations

import json
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


def main() -> None:
    """Answers until the input ends."""
    jars = sys.argv[1]
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.perf_counter()
        try:
            {"read": read, "merge": merge}[asked["do"]](asked, jars)
            answer: dict[str, Any] = {"seconds": time.perf_counter() - began}
        except Exception as error:  # noqa: BLE001 - whatever an engine raises is its answer
            answer = {"error": f"{type(error).__name__}: {str(error)[:2000]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
