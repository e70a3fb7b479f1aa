"""The rules of a contract: those its columns imply, then those it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import exp

from pipelines.contract.base import did_you_mean
from pipelines.contract.load import line_in
from pipelines.contract.model import Column, Contract
from pipelines.contract.rule_spec import RuleSpec
from pipelines.errors import ContractError
from quality_rules.rule import Rule, RuleError, RuleKind, Severity

#: Where a rule stands in the contract's file: keys and indices.
_Place = tuple[str | int, ...]


def rules_of(contract: Contract) -> tuple[Rule, ...]:
    """Every rule of the contract, implied ones first, in the order of its columns.

    Raises:
        ContractError: when rules cannot be judged: each with the file, the line, and a hint.
    """
    if contract.layer == "export":
        return ()
    types = {name: column.type.stored for name, column in contract.columns.items()}
    rules, faults = list[Rule](), list[str]()
    for place, make in _makers(contract):
        try:
            rule = make()
            rule.check(types)
            _refuse_other_rows(rule)
            rules.append(rule)
        except RuleError as error:
            faults.append(_fault(contract, place, error))
    if len(names := {rule.name for rule in rules}) < len(rules):
        twice = next(name for name in names if [rule.name for rule in rules].count(name) > 1)
        faults.append(
            f"{contract.path}: two rules share the name '{twice}', one is implied by a column"
        )
    if faults:
        raise ContractError("\n".join(faults))
    return tuple(rules)


def _fault(contract: Contract, place: _Place, error: RuleError) -> str:
    named = [part for part in str(error).split("'") if part]
    unknown = next((part for at, part in enumerate(named) if named[at - 1].endswith("column ")), "")
    known = unknown in contract.columns or not unknown
    hint = None if known else did_you_mean(unknown, contract.columns)
    text = f"{contract.path}:{line_in(contract.path, place)}: {error}"
    return f"{text}\n  Hint: {hint}" if hint else text


def _refuse_other_rows(rule: Rule) -> None:
    """A condition that looks at other rows would hear another answer from each batch.

    Raises:
        RuleError: when the SQL has an aggregate, a window or a query in it.
    """
    if rule.kind is not RuleKind.EXPRESSION:
        return
    if found := _beyond_one_row(rule.params["sql"]):
        raise RuleError(
            f"rule '{rule.name}': {found} looks at other rows; a condition is of one row alone, "
            "and volume, drift, unique or reference speak of many"
        )


@lru_cache(maxsize=4096)  # a contract's rules are asked for again and again
def _beyond_one_row(sql: str) -> str | None:
    """The aggregate, window or query in a condition."""
    try:
        found = sqlglot.parse_one(sql).find(exp.AggFunc, exp.Window, exp.Query)
    except sqlglot.ParseError:  # Polars has parsed it, and is the one that judges
        return None
    return None if found is None else found.sql()


def _makers(contract: Contract) -> Iterator[tuple[_Place, Callable[[], Rule]]]:
    for name, column in contract.columns.items():
        for what, kind, params in _promises(column, is_key=name in contract.key):
            made = {"name": f"{name}_{what}", "kind": kind, "columns": (name,), "params": params}
            yield ("columns", name), _maker(contract, made)
    for at, spec in enumerate(contract.rules):
        yield ("rules", at), lambda spec=spec: _named(contract, spec)


def _maker(contract: Contract, made: Mapping[str, Any]) -> Callable[[], Rule]:
    return lambda: Rule(table=contract.table, owner=contract.owner, **made)


def _promises(column: Column, *, is_key: bool) -> Iterator[tuple[str, RuleKind, dict[str, Any]]]:
    if column.required or is_key:
        yield "required", RuleKind.NOT_NULL, {}
    bounds = {
        key: value for key, value in (("min", column.min), ("max", column.max)) if value is not None
    }
    if bounds:
        yield "range", RuleKind.RANGE, bounds
    if column.pattern is not None:
        yield "pattern", RuleKind.PATTERN, {"regex": column.pattern}
    if column.values is not None:
        yield "values", RuleKind.SET, {"values": list(column.values)}
    if column.unique:
        yield "unique", RuleKind.UNIQUE, {}


def _named(contract: Contract, spec: RuleSpec) -> Rule:
    kind = spec.kinds()[0]
    body: dict[str, Any] = spec.body.model_dump(exclude_none=True)
    for name in ("column", "by"):
        body.pop(name, None)
    if kind != "schema":
        body.pop("columns", None)
    return Rule(
        table=contract.table,
        name=spec.name,
        id=spec.id,
        kind=RuleKind(kind.upper()),
        columns=spec.columns(),
        severity=Severity(spec.severity),
        params=_PARAMS.get(kind, lambda body, _: body)(body, contract),
        description=spec.description,
        active=spec.active,
        mostly=spec.mostly,
        owner=spec.owner or contract.owner,
    )


def _reference(body: dict[str, Any], _contract: Contract) -> dict[str, Any]:
    return {"table": body["table"], "column": body["column_there"]}


def _set(body: dict[str, Any], _contract: Contract) -> dict[str, Any]:
    return {"values": list(body["values"])}


def _freshness(body: dict[str, Any], _contract: Contract) -> dict[str, Any]:
    within: timedelta = body["within"]
    return {"within_seconds": int(within.total_seconds())}


def _schema(body: dict[str, Any], contract: Contract) -> dict[str, Any]:
    own = {name: column.type for name, column in contract.columns.items()}
    columns = body.get("columns") or own
    return {"columns": {n: str(t.stored) for n, t in columns.items()}, "exact": body["exact"]}


#: What a rule is told, where it is not what the contract says word for word.
_PARAMS: Mapping[str, Callable[[dict[str, Any], Contract], dict[str, Any]]] = {
    "reference": _reference,
    "set": _set,
    "freshness": _freshness,
    "schema": _schema,
}
