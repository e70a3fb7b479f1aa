"""Ways through the lineage as trees, JSON and Mermaid: of columns and of tables."""

from __future__ import annotations

import json

import pytest

from lineage.errors import LineageError
from lineage.graph import LineageGraph
from lineage.layers import capture_lineage, silver_lineage, sql_lineage
from lineage.walk import as_json, as_mermaid, as_tree, walk

SCHEMA = {"silver.a.notes": ["id", "kind", "text"], "gold.a.kinds": ["kind", "notes"]}

GRAPH = LineageGraph.of(
    [
        capture_lineage("postgres:a.public.notes", "a.public.notes", "bronze.a.notes", ["kind"]),
        silver_lineage("bronze.a.notes", "silver.a.notes", {"kind": "kind", "id": "id"}),
        sql_lineage(
            "gold.a.kinds",
            "SELECT kind, COUNT(*) AS notes FROM silver.a.notes WHERE id > 0 GROUP BY kind",
            SCHEMA,
        ),
    ]
)


def test_a_column_leads_up_to_the_source() -> None:
    assert as_tree(walk(GRAPH, "gold.a.kinds.kind", up=True)) == (
        "gold.a.kinds.kind\n"
        "`-- silver.a.notes.kind (identity)\n"
        "    `-- bronze.a.notes.raw_payload.kind (cast)\n"
        "        `-- postgres:a.public.notes.kind (identity)\n"
    )


def test_depth_ends_the_way() -> None:
    found = walk(GRAPH, "gold.a.kinds.kind", up=True, depth=2)
    assert [edge.depth for edge in found.edges] == [1, 2]


def test_a_column_that_only_decides_is_followed_when_asked() -> None:
    assert walk(GRAPH, "silver.a.notes.id", up=False).edges == ()
    found = walk(GRAPH, "silver.a.notes.id", up=False, indirect=True)
    assert {(e.target, e.how) for e in found.edges} == {
        ("gold.a.kinds.kind", "filter"),
        ("gold.a.kinds.notes", "filter"),
    }


def test_a_table_leads_down_to_what_reads_it() -> None:
    assert as_tree(walk(GRAPH, "postgres:a.public.notes", up=False)) == (
        "postgres:a.public.notes\n"
        "`-- bronze.a.notes (CDC_CAPTURE)\n"
        "    `-- silver.a.notes (ETL_TRANSFORM)\n"
        "        `-- gold.a.kinds (DIMENSIONAL_MODEL)\n"
    )


def test_json_names_the_kinds_of_openlineage() -> None:
    told = json.loads(as_json(walk(GRAPH, "gold.a.kinds.kind", up=True, depth=1)))
    assert (told["column"], told["direction"]) == ("gold.a.kinds.kind", "up")
    assert told["steps"] == [
        {
            "source": "silver.a.notes.kind",
            "target": "gold.a.kinds.kind",
            "how": "identity",
            "depth": 1,
            "type": "DIRECT",
            "subtype": "IDENTITY",
        }
    ]


def test_mermaid_puts_columns_in_the_box_of_their_table() -> None:
    found = walk(GRAPH, "silver.a.notes.id", up=False, indirect=True)
    lines = as_mermaid(found, GRAPH).splitlines()
    assert lines[0] == "flowchart LR"
    assert '    subgraph t1["gold.a.kinds"]' in lines
    assert "    n0 -. filter .-> n1" in lines
    tables = as_mermaid(walk(GRAPH, "gold.a.kinds", up=True), GRAPH)
    assert "n1 -- DIMENSIONAL_MODEL --> n0" in tables


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gold.a.kind", "did you mean gold.a.kinds"),
        ("gold.a.kinds.kin", "did you mean kind"),
        ("nothing", "no table 'nothing'"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(LineageError, match=hint):
        walk(GRAPH, name, up=True)
