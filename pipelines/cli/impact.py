"""contract diff: what a proposed change of contracts changes, breaks and reaches."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from pipelines.cli.options import AssetsOption, JsonOption
from pipelines.cli.show import err, out, print_records
from pipelines.contract.changes import Change
from pipelines.errors import ContractError
from pipelines.impact import Impact, Reach, contracts_at, impact_of
from pipelines.settings import load_settings


def contract_diff(
    old: Annotated[
        str, typer.Argument(help="A folder of contracts, or a git revision of --assets.")
    ] = "HEAD",
    new: Annotated[
        str | None, typer.Argument(help="The same; --assets as it is now when left out.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="End with code 11 when the new contracts are at fault, or break readers without a new major version.",
        ),
    ] = False,
    assets: AssetsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a change of contracts changes, and every table, column, rule and owner it reaches.

    Reached is what is made of a changed column, directly or by a condition on it, in the old SQL or
    in the new. A change is breaking when a reader of the old table may fail or read something else.

    Examples:
        medallion contract diff

        medallion contract diff main --check

        medallion contract diff assets proposed/assets --json
    """
    root = load_settings(assets=assets).assets
    with contracts_at(old, root) as before, contracts_at(new or str(root), root) as after:
        impact = impact_of(before, after)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(impact), indent=2) + "\n")
    else:
        _print(impact)
    if check:
        _refuse(impact)


def _print(impact: Impact) -> None:
    if not impact.changes:
        out.print("no difference")
    for change, reach in impact.changes:
        mark = " [red]breaking[/red]" if change.breaking else ""
        out.print(f"[bold]{_name(change)}[/bold]: {change.what}{mark}", highlight=False)
        print_records(_reached(reach), as_json=False)
    for table in impact.unmarked:
        err.print(f"note: {table}: a breaking change, and no new major version", highlight=False)
    for problem in impact.problems:
        err.print(f"[red]fault:[/red] {problem}", highlight=False)


def _name(change: Change) -> str:
    name = f"{change.table}.{change.column}" if change.column else change.table
    return f"{name} ({change.rule})" if change.rule else name


def _reached(reach: Reach) -> list[dict[str, Any]]:
    rows = [
        {
            "reaches": table,
            "columns": ", ".join(ref.column for ref in reach.columns if ref.table == table),
            "rules": ", ".join(
                rule.removeprefix(f"{table}.")
                for rule in reach.rules
                if rule.startswith(f"{table}.")
            ),
        }
        for table in reach.tables
    ]
    others = [r for r in reach.rules if r.rpartition(".")[0] not in reach.tables]
    rows += [
        {"reaches": rule.rpartition(".")[0], "rules": rule.rpartition(".")[2]} for rule in others
    ]
    return [*rows, {"reaches": f"owners: {', '.join(reach.owners)}"}]


def _as_json(impact: Impact) -> dict[str, Any]:
    return {
        "changes": [
            {
                "table": change.table,
                "column": change.column,
                "rule": change.rule,
                "what": change.what,
                "breaking": change.breaking,
                "reaches": {
                    "tables": list(reach.tables),
                    "columns": [str(ref) for ref in reach.columns],
                    "rules": list(reach.rules),
                    "owners": list(reach.owners),
                },
            }
            for change, reach in impact.changes
        ],
        "without_major_version": list(impact.unmarked),
        "faults": list(impact.problems),
    }


def _refuse(impact: Impact) -> None:
    faults = [
        f"{table}: a breaking change needs a new major version of its contract"
        for table in impact.unmarked
    ]
    if faults or impact.problems:
        raise ContractError("\n".join([*faults, *impact.problems]))
