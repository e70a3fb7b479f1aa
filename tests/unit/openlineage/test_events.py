"""What a run tells a listener over HTTP: every event valid, and what each says."""

from __future__ import annotations

import json

from tests.unit.openlineage.mutations import mutations
from tests.unit.openlineage.parts import VALIDATOR, Listening, Shop


def test_every_step_of_a_run_is_told_and_every_event_is_valid(
    shop: Shop, listening: Listening
) -> None:
    shop.run_all()
    assert listening.faults == []
    states = sorted((e["job"]["name"], e["eventType"]) for e in listening.events)
    jobs = [
        "apply.silver.shop.notes",
        "build.gold.shop.kinds",
        "capture.bronze.shop.notes",
        "check.gold.shop.kinds",
        "check.silver.shop.notes",
        "medallion.run",
    ]
    assert states == [(job, state) for job in jobs for state in ("COMPLETE", "START")]
    assert shop.waiting() == []
    whole = listening.told("medallion.run", "START")["run"]["runId"]
    for event in listening.events:
        assert event["job"]["namespace"] == "tests"
        if event["job"]["name"] != "medallion.run":
            assert event["run"]["facets"]["parent"]["run"]["runId"] == whole
        engine = event["run"]["facets"]["processing_engine"]
        assert engine["name"] == "polars"


def test_a_build_tells_its_sql_its_columns_and_where_they_come_from(
    shop: Shop, listening: Listening
) -> None:
    shop.run_all()
    event = listening.told("build.gold.shop.kinds", "COMPLETE")
    assert "GROUP BY kind" in event["job"]["facets"]["sql"]["query"]
    assert event["job"]["facets"]["ownership"]["owners"][0]["name"] == "me@example.org"
    (made,) = event["outputs"]
    silver = {"namespace": "file", "name": f"{shop.root}/lake/silver/shop/notes"}
    assert made["name"] == f"{shop.root}/lake/gold/shop/kinds"
    assert [f["name"] for f in made["facets"]["schema"]["fields"]] == ["kind", "notes"]
    assert made["facets"]["version"]["datasetVersion"] == "1"
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 1
    lineage = made["facets"]["columnLineage"]
    (kind,) = lineage["fields"]["kind"]["inputFields"]
    identity = {"type": "DIRECT", "subtype": "IDENTITY", "description": "identity"}
    assert kind == {**silver, "field": "kind", "transformations": [identity]}
    decides = {(f["field"], t["subtype"]) for f in lineage["dataset"] for t in f["transformations"]}
    assert decides == {("id", "FILTER"), ("kind", "GROUP_BY")}
    (read,) = event["inputs"]
    assert {k: read[k] for k in silver} == silver
    assert read["facets"]["version"]["datasetVersion"].isdigit()


def test_an_apply_tells_its_counts_its_history_and_its_classes(
    shop: Shop, listening: Listening
) -> None:
    shop.run_all()
    event = listening.told("apply.silver.shop.notes", "COMPLETE")
    assert event["job"]["facets"]["sourceCode"]["language"] == "yaml"
    made, history = event["outputs"]
    assert history["name"].endswith("/history/shop/notes")
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 2
    tags = {t["field"]: t["value"] for t in made["facets"]["tags"]["tags"]}
    assert tags["text"] == "confidential"
    (origin,) = made["facets"]["columnLineage"]["fields"]["text"]["inputFields"]
    assert (origin["field"], origin["name"]) == (
        "raw_payload.text",
        f"{shop.root}/lake/bronze/shop/notes",
    )
    captured = listening.told("capture.bronze.shop.notes", "COMPLETE")
    assert captured["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 3
    assert captured["inputs"][0]["name"] == str(shop.root / "stream.jsonl")


def test_a_check_tells_each_rule_and_counts_but_no_value(shop: Shop, listening: Listening) -> None:
    shop.run_all()
    event = listening.told("check.silver.shop.notes", "COMPLETE")
    (judged,) = event["inputs"]
    found = judged["inputFacets"]
    told = {a["name"]: a for a in found["dataQualityAssertions"]["assertions"]}
    assert (told["text_pattern"]["success"], told["text_pattern"]["actual"]) == (False, "1")
    assert told["kind_required"]["success"] is True
    assert found["dataQualityMetrics"]["rowCount"] == 3
    assert found["dataQualityMetrics"]["columnMetrics"]["kind"] == {"nullCount": 0}
    assert "BAD 5" not in json.dumps(listening.events)


def test_a_step_that_fails_says_so_without_a_foreign_text(shop: Shop, listening: Listening) -> None:
    shop.run_all()
    listening.events.clear()
    sql = shop.root / "assets" / "shop" / "gold" / "kinds.sql"
    sql.write_text("SELECT kind, CAST(kind AS BIGINT) AS notes FROM silver.shop.notes")
    contract = sql.with_suffix(".yaml")
    secret = "notes: {type: int64, classification: confidential}"
    contract.write_text(contract.read_text().replace("notes: {type: int64}", secret))
    assert shop.run("build").exit_code != 0
    assert listening.faults == []
    failed = listening.told("build.gold.shop.kinds", "FAIL")["run"]["facets"]["errorMessage"]
    assert failed["programmingLanguage"] == "python"
    assert failed["message"] == "QueryError: its text stands in the run's own log"
    assert "in build" in failed["stackTrace"]
    whole = listening.told("medallion.build", "FAIL")["run"]["facets"]["errorMessage"]
    assert whole["message"] == "the command ended with exit code 17"


def test_nothing_is_told_where_nobody_listens(shop: Shop, listening: Listening) -> None:
    (shop.root / "openlineage.yml").unlink()
    shop.environment |= {"HOME": str(shop.root)}
    shop.run_all()
    assert listening.events == []
    assert not shop.outbox.exists()


def test_each_part_of_each_event_is_held_to_the_specification(
    shop: Shop, listening: Listening
) -> None:
    shop.run_all()
    (shop.root / "assets" / "shop" / "gold" / "kinds.sql").write_text("SELECT 1 AS")
    assert shop.run("build").exit_code != 0
    events = listening.events
    assert {e["eventType"] for e in events} == {"START", "COMPLETE", "FAIL"}
    spoilt = {what: each for e in events for what, each in mutations(VALIDATOR.schema, e)}
    assert len(spoilt) > 300
    assert [what for what, each in spoilt.items() if VALIDATOR.is_valid(each)] == []
