"""The rules of a contract: those its columns imply, then those it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.contract.model import Column, Contract
from pipelines.contract.rule_spec import RuleSpec
from pipelines.errors import ContractError
from quality_rules.rule import Rule, RuleError, RuleKind, Severity


def rules_of(contract: Contract) -> tuple[Rule, ...]:
    """Every rule of the contract, implied ones first, in the order of its columns.

    Raises:
        ContractError: when a rule cannot be judged, with the file.
    """
    try:
        rules = (*_implied(contract), *(_named(contract, spec) for spec in contract.rules))
        types = {name: column.type.stored for name, column in contract.columns.items()}
        for rule in rules:
            if rule.on_rows and rule.kind is not RuleKind.REFERENCE:
                rule.valid(types)
    except RuleError as error:
        raise ContractError(f"{contract.path}: {error}") from error
    return rules


def _implied(contract: Contract) -> Iterator[Rule]:
    for name, column in contract.columns.items():
        for what, kind, params in _promises(column, is_key=name in contract.key):
            yield Rule(
                table=contract.table,
                name=f"{name}_{what}",
                kind=kind,
                columns=(name,),
                params=params,
            )


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
    body: dict[str, Any] = getattr(spec, kind).model_dump(exclude_none=True)
    column = body.pop("column", None)
    columns = tuple(body.pop("columns", ())) or ((column,) if column else ())
    if "column_there" in body:
        body["column"] = body.pop("column_there")
    if "values" in body:
        body["values"] = list(body["values"])
    return Rule(
        table=contract.table,
        name=spec.name,
        kind=RuleKind(kind.upper()),
        columns=columns,
        severity=Severity(spec.severity),
        params=body,
        description=spec.description,
        active=spec.active,
    )
