"""Dagster's runs kept in Postgres, by the instance file of deploy/."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from tests.stack.shop import Shop

INSTANCE = Path(__file__).parents[2] / "deploy" / "dagster.yaml"


@dg.asset
def made() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"dagster/row_count": 3})


@pytest.mark.stack
def test_runs_and_materialisations_are_kept_in_postgres(
    quiet_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    where = parse_dsn(quiet_shop.dsn)
    url = urlsplit(quiet_shop.dsn)
    for name, value in {
        "HOST": where.get("host", url.hostname or ""),
        "PORT": str(where.get("port", url.port)),
        "USERNAME": where.get("user", "postgres"),
        "PASSWORD": where.get("password", "trusted"),
        "DB": where["dbname"],
    }.items():
        monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
    (tmp_path / "dagster.yaml").write_text(INSTANCE.read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert dg.materialize([made], instance=instance).success
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        event = instance.get_latest_materialization_event(made.key)
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["dagster/row_count"].value == 3
    with closing(psycopg2.connect(quiet_shop.dsn)) as db, db.cursor() as cursor:
        cursor.execute("select count(*) from runs where status = 'SUCCESS'")
        assert cursor.fetchone() == (1,)
