"""What is different between two versions of a contract, and which of it breaks a reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipelines.contract.model import Column, Contract
from pipelines.contract.rules import rules_of
from pipelines.contract.types import DataType
from quality_rules.rule import Rule

#: Facts of a contract that are told as they are, when they differ.
_PLAIN = ("owner", "identity", "history", "freshness", "retention", "drift", "batch_id", "export")

_WIDER = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference. `column` and `rule` are None where the whole table is meant.

    `breaking`: a reader of the old table may fail, or read something else, on the new one.
    """

    table: str
    what: str
    column: str | None = None
    rule: str | None = None
    breaking: bool = False


def changes_between(old: Mapping[str, Contract], new: Mapping[str, Contract]) -> tuple[Change, ...]:
    """All differences between two sets of contracts by table, in the order of the tables' names."""
    found = list[Change]()
    for table in sorted({*old, *new}):
        before, after = old.get(table), new.get(table)
        if after is None:
            found.append(Change(table=table, what="table removed", breaking=True))
        elif before is None:
            found.append(Change(table=table, what="table added"))
        else:
            found += _of_table(before, after)
    return tuple(found)


def unmarked(
    old: Mapping[str, Contract], new: Mapping[str, Contract], changes: tuple[Change, ...]
) -> tuple[str, ...]:
    """The tables with a breaking change whose version has not got a new first number (semver)."""
    broken = dict.fromkeys(change.table for change in changes if change.breaking)
    return tuple(t for t in broken if t in old and t in new and _major(new[t]) <= _major(old[t]))


def _major(contract: Contract) -> int:
    return int(contract.version.partition(".")[0])


def _of_table(old: Contract, new: Contract) -> Iterator[Change]:
    table = new.table
    if old.key != new.key:
        what = f"key {', '.join(old.key)} -> {', '.join(new.key)}"
        yield Change(table=table, what=what, breaking=True)
    if old.source != new.source:
        yield Change(table=table, what="source changed")
    if (old.sql or "").split() != (new.sql or "").split():
        yield Change(table=table, what="SQL changed")
    if old.surrogate_key != new.surrogate_key:
        yield Change(table=table, what="surrogate key changed", breaking=True)
    for name in _PLAIN:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            lost = name in ("identity", "export") or (name == "history" and not after)
            yield Change(table=table, what=f"{name} changed", breaking=lost)
    yield from _of_columns(old, new)
    yield from _of_rules(old, new)


def _of_columns(old: Contract, new: Contract) -> Iterator[Change]:
    renamed = {
        was: name
        for name, column in new.columns.items()
        if name not in old.columns
        for was in column.was
        if was in old.columns and was not in new.columns
    }
    for name, before in old.columns.items():
        after = new.columns.get(name)
        if name in renamed:
            what = f"renamed to '{renamed[name]}'"
            yield Change(table=new.table, column=name, what=what, breaking=True)
        elif after is None:
            yield Change(table=new.table, column=name, what="removed", breaking=True)
        else:
            yield from _of_column(new.table, name, before, after)
    for name in new.columns:
        if name not in old.columns and name not in renamed.values():
            yield Change(table=new.table, column=name, what="added")


def _of_column(table: str, name: str, old: Column, new: Column) -> Iterator[Change]:
    if old.type != new.type:
        what = f"type {old.type} -> {new.type}"
        wider = _holds_all(old.type, new.type)
        yield Change(table=table, column=name, what=what, breaking=not wider)
    if old.required != new.required:
        what = "required" if new.required else "no longer required: it may be null"
        yield Change(table=table, column=name, what=what, breaking=old.required)
    if old.classification != new.classification:
        what = f"classification {old.classification} -> {new.classification}"
        yield Change(table=table, column=name, what=what)
    if old.mask != new.mask:
        yield Change(table=table, column=name, what="mask changed", breaking=True)
    if (old.source or name) != (new.source or name):
        what = f"read from field '{new.source or name}' instead of '{old.source or name}'"
        yield Change(table=table, column=name, what=what, breaking=True)
    if old.unique and not new.unique:
        yield Change(table=table, column=name, what="no longer unique", breaking=True)


def _holds_all(old: DataType, new: DataType) -> bool:
    """Whether each value of the old type is one of the new, written the same."""
    one, other = str(old), str(new)
    if one in _WIDER and other in _WIDER:
        return _WIDER[one] <= _WIDER[other]
    if old.kind == new.kind == "decimal":
        before, after = _numbers(one), _numbers(other)
        return before[1:] == after[1:] and before[0] <= after[0]
    return False


def _numbers(decimal: str) -> list[int]:
    return [int(part) for part in decimal.partition("(")[2].rstrip(")").split(",") if part]


def _of_rules(old: Contract, new: Contract) -> Iterator[Change]:
    before = {rule.name: rule for rule in rules_of(old)}
    after = {rule.name: rule for rule in rules_of(new)}
    for name in sorted({*before, *after}):
        rule = after.get(name) or before[name]
        if name not in after:
            what = "rule removed"
        elif name not in before:
            what = f"rule added ({rule.severity.value})"
        elif _terms(before[name]) != _terms(after[name]):
            what = "rule changed"
        else:
            continue
        column = rule.columns[0] if len(rule.columns) == 1 else None
        yield Change(table=new.table, column=column, rule=name, what=what)


def _terms(rule: Rule) -> tuple[object, ...]:
    return rule.kind, rule.columns, rule.severity, dict(rule.params), rule.active, rule.mostly
