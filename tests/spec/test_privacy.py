"""Personal stays personal: a planted leak is found with its whole way, and each mask passes it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from lineage.flow import Source
from pipelines.checks import Findings, check_sql
from pipelines.contract import load_catalog
from pipelines.provenance import lineage_of
from pipelines.refine import build_all
from pipelines.storage import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)

CUSTOMERS: dict[str, Any] = {
    "table": "silver.shop.customers",
    "description": "d",
    "owner": "o",
    "source": {"connector": "postgres", "topic": "shop.public.customers"},
    "key": ["id"],
    "history": True,
    "columns": {
        "id": {"type": "int64"},
        "email": {"type": "string", "classification": "confidential"},
        "salary": {"type": "decimal(10,2)", "classification": "restricted"},
        "born": {"type": "date", "classification": "confidential"},
        "country": {"type": "string", "classification": "public"},
    },
}
LEADS: dict[str, Any] = {
    **CUSTOMERS,
    "table": "silver.shop.leads",
    "source": {"connector": "postgres", "topic": "shop.public.leads"},
    "columns": {"id": {"type": "int64"}, "mail": {"type": "string"}},
}

#: Email reaches gold through two names of a WITH and a UNION.
PLANTED = """\
WITH contacts AS (
  SELECT c.id, c.email AS address FROM silver.shop.customers AS c WHERE c.country <> 'x'
),
everyone AS (
  SELECT l.id, l.mail AS target FROM silver.shop.leads AS l
  UNION ALL
  SELECT k.id, k.address FROM contacts AS k
)
SELECT e.id, LOWER(e.target) AS reach FROM everyone AS e
"""


class Shop:
    """A folder of contracts, with one gold table more at each `gold`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.silver(CUSTOMERS)
        self.silver(LEADS)

    def silver(self, contract: dict[str, Any]) -> None:
        self._write("silver", contract["table"].split(".")[2], contract)

    def gold(self, name: str, sql: str, columns: dict[str, Any], **more: Any) -> None:
        key = more.pop("key", ["id"])
        terms = {"table": f"gold.shop.{name}", "description": "d", "owner": "o", "key": key}
        self._write("gold", name, {**terms, **more, "columns": columns}).with_suffix(
            ".sql"
        ).write_text(sql)

    def _write(self, layer: str, name: str, contract: dict[str, Any]) -> Path:
        path = self.root / "shop" / layer / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(contract))
        return path

    def check(self) -> Findings:
        return check_sql(load_catalog(self.root))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


ID = {"type": "int64"}


def test_a_leak_through_two_ctes_and_a_union_is_told_with_its_whole_way(shop: Shop) -> None:
    shop.gold("mailing", PLANTED, {"id": ID, "reach": {"type": "string"}})
    (fault,) = shop.check().faults
    path = shop.root / "shop" / "gold" / "mailing.sql"
    assert fault.splitlines() == [
        f"{path}: line 2, column 16: 'reach' is internal, but shows confidential silver.shop.customers.email:"
        " it is neither masked nor over groups of a stated size",
        "    postgres:shop.public.customers.email",
        "    -> bronze.shop.customers.raw_payload.email",
        "    -> silver.shop.customers.email (read at line 2, column 16)",
        "    -> contacts.address (read at line 7, column 16)",
        "    -> everyone.target (read at line 9, column 20)",
        "    -> gold.shop.mailing.reach",
        "  Hint: write 'classification: confidential' or a mask at the column in mailing.yaml",
    ]


@pytest.mark.parametrize("mask", ["hash", "tokenise", "redact", {"truncate": 2}])
def test_each_mask_of_a_text_passes(shop: Shop, mask: object) -> None:
    shop.gold("mailing", PLANTED, {"id": ID, "reach": {"type": "string", "mask": mask}})
    assert shop.check().faults == ()


@pytest.mark.parametrize("mask", [{"generalise": "year"}, "redact"])
def test_each_mask_of_a_date_passes(shop: Shop, mask: object) -> None:
    sql = "SELECT c.id, c.born FROM history.shop.customers AS c"
    shop.gold("births", sql, {"id": ID, "born": {"type": "date"}})
    assert "confidential history.shop.customers.born" in shop.check().faults[0]
    shop.gold("births", sql, {"id": ID, "born": {"type": "date", "mask": mask}})
    assert shop.check().faults == ()


@pytest.mark.parametrize(
    ("held", "leaks"), [("public", 1), ("internal", 1), ("confidential", 0), ("restricted", 0)]
)
def test_a_column_of_the_class_or_a_higher_one_may_show_it(
    shop: Shop, held: str, leaks: int
) -> None:
    shop.gold("mailing", PLANTED, {"id": ID, "reach": {"type": "string", "classification": held}})
    assert len([f for f in shop.check().faults if "customers.email" in f]) == leaks


def test_what_nobody_classified_is_internal_and_not_for_the_public(shop: Shop) -> None:
    columns = {"id": {"type": "int64", "classification": "public"}}
    shop.gold("ids", "SELECT c.id FROM silver.shop.customers AS c", columns)
    (fault,) = shop.check().faults
    assert "'id' is public, but shows internal silver.shop.customers.id" in fault


def test_the_class_goes_on_from_gold_to_gold_and_ends_at_a_mask(shop: Shop) -> None:
    secret = {"type": "string", "classification": "confidential"}
    shop.gold("mailing", PLANTED, {"id": ID, "reach": secret})
    shop.gold(
        "copy", "SELECT m.id, m.reach AS r FROM gold.shop.mailing AS m", {"id": ID, "r": {"type": "string"}}
    )  # fmt: skip
    (fault,) = shop.check().faults
    assert "    -> silver.shop.customers.email\n    -> gold.shop.mailing.reach (read at" in fault
    shop.gold("mailing", PLANTED, {"id": ID, "reach": {"type": "string", "mask": "hash"}})
    assert shop.check().faults == ()


def test_the_mask_that_silver_names_is_the_one_to_use(shop: Shop) -> None:
    columns = {**CUSTOMERS["columns"], "email": {**CUSTOMERS["columns"]["email"], "mask": "hash"}}
    shop.silver({**CUSTOMERS, "columns": columns})
    shop.gold("mailing", PLANTED, {"id": ID, "reach": {"type": "string", "mask": {"truncate": 2}}})
    (fault,) = shop.check().faults
    assert "its mask is 'truncate', but the source's contract names 'hash'" in fault
    for passing in ("hash", "redact"):
        shop.gold("mailing", PLANTED, {"id": ID, "reach": {"type": "string", "mask": passing}})
        assert shop.check().faults == ()


@pytest.mark.parametrize(
    ("expression", "leaks"),
    [
        ("c.email", True),
        ("CAST(c.email AS VARCHAR)", True),
        ("COALESCE(c.email, 'none')", True),
        ("CASE WHEN c.country = 'x' THEN c.email END", True),
        ("CASE WHEN c.email LIKE '%.org' THEN 'org' ELSE 'other' END", False),
        ("c.country", False),
        ("FIRST_VALUE(c.email) OVER (ORDER BY c.id)", True),
        ("CAST(ROW_NUMBER() OVER (ORDER BY c.email) AS VARCHAR)", False),
        ("(SELECT MAX(k.email) FROM silver.shop.customers AS k)", True),
    ],
)
def test_values_leak_and_conditions_are_noted(shop: Shop, expression: str, leaks: bool) -> None:
    sql = f"SELECT c.id, {expression} AS x FROM silver.shop.customers AS c"
    shop.gold("t", sql, {"id": ID, "x": {"type": "string"}})
    findings = shop.check()
    assert bool(findings.faults) == leaks, findings.faults
    if "email" in expression and not leaks:
        assert any("confidential silver.shop.customers.email decides" in n for n in findings.notes)


EMAIL = "silver.shop.customers AS c"


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT * EXCLUDE (born) FROM (SELECT c.id, c.email, c.born FROM {EMAIL}) AS x",
        f"SELECT c.id, UNNEST(STRING_TO_ARRAY(c.email, '@')) AS email FROM {EMAIL}",
        f"SELECT l.id, m.email FROM silver.shop.leads AS l LEFT JOIN {EMAIL.replace(' c', ' m')} USING (id)",
        f"SELECT l.id, (SELECT MIN(c.email) FROM {EMAIL} WHERE c.id = l.id) AS email FROM silver.shop.leads AS l",
        f"SELECT l.id, l.mail AS email FROM silver.shop.leads AS l EXCEPT SELECT c.id, c.country FROM {EMAIL}"
        f" UNION ALL SELECT c.id, c.email FROM {EMAIL}",
        f"SELECT c.id, LAG(c.email) OVER (PARTITION BY c.country ORDER BY c.id) AS email FROM {EMAIL}",
        f"SELECT x.id, x.a || x.b AS email FROM (SELECT c.id, SPLIT_PART(c.email, '@', 1) AS a, '' AS b FROM {EMAIL}) AS x",
        f"SELECT h.id, h.email FROM history.shop.customers AS h WHERE h.is_current AND h.id IN (SELECT c.id FROM {EMAIL})",
        f"SELECT MIN(c.id) AS id, STRING_AGG(c.email, ',') AS email FROM {EMAIL} GROUP BY c.country",
        f"WITH a AS (SELECT c.id, c.email FROM {EMAIL}), b AS (SELECT a.id, a.email FROM a), c AS (SELECT b.id, b.email FROM b)"
        " SELECT c.id, c.email FROM c",
    ],
)  # fmt: skip
def test_no_construct_hides_a_value(shop: Shop, sql: str) -> None:
    shop.gold("t", sql, {"id": ID, "email": {"type": "string", "mask": "redact"}})
    findings = shop.check()
    if any("the engine refuses it" in fault for fault in findings.faults):
        pytest.fail("\n".join(findings.faults))
    assert findings.faults == ()
    shop.gold("t", sql, {"id": ID, "email": {"type": "string"}})
    assert any("'email' is internal, but shows confidential" in f for f in shop.check().faults)


def test_the_raw_event_is_of_the_class_of_its_highest_column(shop: Shop) -> None:
    shop.gold(
        "q",
        "SELECT q.id, q.raw_payload AS x FROM quarantine.shop.customers AS q",
        {"id": ID, "x": {"type": "string", "classification": "confidential"}},
    )
    (fault,) = shop.check().faults
    assert (
        "'x' is confidential, but shows restricted quarantine.shop.customers.raw_payload" in fault
    )


def test_a_table_that_leaks_is_not_built_and_the_others_are(shop: Shop, tmp_path: Path) -> None:
    shop.gold("mailing", PLANTED, {"id": ID, "reach": {"type": "string"}})
    shop.gold("copy", "SELECT m.id FROM gold.shop.mailing AS m", {"id": ID})
    shop.gold("countries", "SELECT c.id, c.country FROM silver.shop.customers AS c", {"id": ID, "country": {"type": "string"}})  # fmt: skip
    lake, catalog = Lake(str(tmp_path / "lake")), load_catalog(shop.root)
    people = pl.DataFrame({"id": [1], "email": ["ada@example.org"], "country": ["SE"]})
    lake.write(lake.create("silver.shop.customers", people.schema), people, mode="append")
    tables = [contract.table for contract in catalog.layer("gold")]
    done, failed = build_all(
        lake, catalog, ["gold.shop.mailing", *tables], now=NOW, after=lambda _: None
    )
    assert [built.table for built in done] == ["gold.shop.countries"]
    assert list(failed) == ["gold.shop.mailing"]
    assert "-> everyone.target" in str(failed["gold.shop.mailing"])
    assert lake.open("gold.shop.mailing") is None
    assert "ada" not in str(failed)


def test_a_surrogate_key_comes_from_its_natural_key_and_shows_nothing_of_it(shop: Shop) -> None:
    shop.gold(
        "people",
        "SELECT c.id, c.email FROM silver.shop.customers AS c",
        {"no": ID, "id": ID, "email": {"type": "string", "mask": "hash"}},
        surrogate_key={"column": "no", "of": ["email"]},
    )
    assert shop.check().faults == ()
    sources = lineage_of(load_catalog(shop.root))["gold.shop.people"].columns["no"]
    assert sources == (Source("silver.shop.customers", "email", "expression"),)


# ---- GROUPS ---- #

MONEY = {"type": "decimal(38,2)"}
COUNT = {"type": "int64"}


def paid(shop: Shop, sql: str, **more: Any) -> str:
    columns = {"country": {"type": "string"}, "n": COUNT, "x": MONEY}
    shop.gold("pay", sql, columns, key=["country"], **more)
    return "\n".join(shop.check().faults)


def select(value: str, count: str = "COUNT(DISTINCT c.id)") -> str:
    return f"SELECT c.country, {count} AS n, {value} AS x FROM silver.shop.customers AS c GROUP BY c.country"


SIZE = {"column": "n", "minimum": 10}


def test_a_sum_over_groups_of_a_stated_size_is_no_secret(shop: Shop) -> None:
    sql = select("SUM(c.salary)")
    assert "restricted silver.shop.customers.salary" in paid(shop, sql)
    assert paid(shop, sql, group_size=SIZE) == ""


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("MAX(c.salary)", "MAX(c.salary) may be the value of one row"),
        ("CAST(MEDIAN(c.salary) AS DECIMAL(38, 2))", "may be the value of one row"),
        ("FIRST(c.salary)", "may be the value of one row"),
        ("SUM(c.salary) FILTER (WHERE c.id = 5)", "is not of the whole group"),
        ("SUM(CASE WHEN c.id = 5 THEN c.salary END)", "may choose among the rows"),
    ],
)
def test_an_aggregate_that_may_tell_of_one_is_still_a_secret(
    shop: Shop, value: str, why: str
) -> None:
    assert why in paid(shop, select(value), group_size=SIZE)


def test_what_is_counted_must_be_the_same_groups(shop: Shop) -> None:
    assert "'n' is not a COUNT" in paid(
        shop, select("SUM(c.salary)", "CAST(MAX(c.id) AS BIGINT)"), group_size=SIZE
    )
    sql = """
        WITH large AS (SELECT k.country, COUNT(*) AS n FROM silver.shop.customers AS k GROUP BY k.country),
        small AS (SELECT c.country, c.id, SUM(c.salary) AS x FROM silver.shop.customers AS c GROUP BY c.country, c.id)
        SELECT s.country, l.n, s.x FROM small AS s INNER JOIN large AS l ON l.country = s.country
    """
    assert "'x' is not made of the groups that 'n' counts" in paid(shop, sql, group_size=SIZE)


def test_the_count_may_come_through_a_with(shop: Shop) -> None:
    sql = f"WITH g AS ({select('SUM(c.salary)')}) SELECT g.country, g.n, g.x / 12 AS x FROM g AS g"
    assert paid(shop, sql, group_size=SIZE) == ""


def test_an_event_with_withheld_fields_is_restricted(shop: Shop) -> None:
    shop.silver({**LEADS, "withheld": ["password"]})
    columns = {"id": ID, "x": {"type": "string", "classification": "confidential"}}
    sql = "SELECT q.id, q.raw_payload AS x FROM quarantine.shop.leads AS q"
    shop.gold("q", sql, columns)
    assert "shows restricted quarantine.shop.leads.raw_payload" in shop.check().faults[0]
