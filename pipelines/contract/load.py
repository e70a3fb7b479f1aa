"""Contracts from a folder of domains: `<domain>/{silver,gold,export}/<table>.yaml`, with `.sql` beside gold and exports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.contract.base import did_you_mean
from pipelines.contract.model import Contract
from pipelines.errors import ContractError

LAYERS = ("silver", "gold", "export")


class _Loader(yaml.CSafeLoader):
    """YAML 1.2's booleans: `no`, `on` and `yes` are words, and names of columns.

    libyaml parses, as PyYAML's wheels have it: hundreds of contracts in the time of dozens.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's own form
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), ["t", "f"])


@dataclass(
    frozen=True, slots=True, eq=False
)  # told apart by identity: what is derived of one is kept
class Catalog:
    """All contracts of a folder, by table name, in an order that puts inputs first within a layer."""

    root: Path
    contracts: Mapping[str, Contract]

    def __getitem__(self, table: str) -> Contract:
        try:
            return self.contracts[table]
        except KeyError:
            raise ContractError(
                f"no contract for table '{table}' in {self.root}",
                hint=did_you_mean(table, self.contracts),
            ) from None

    def having(self, contract: Contract) -> Catalog:
        """The same catalog with this contract in the place of its table's."""
        return Catalog(self.root, {**self.contracts, contract.table: contract})

    def layer(self, name: str) -> list[Contract]:
        """The contracts of one layer."""
        return [contract for contract in self.contracts.values() if contract.layer == name]

    def from_sql(self) -> list[Contract]:
        """The contracts with SQL of their own: gold's, then exports."""
        return [*self.layer("gold"), *self.layer("export")]

    def topics(self) -> dict[str, Contract]:
        """Each declared topic with the silver contract that reads it."""
        return {c.source.topic: c for c in self.layer("silver") if c.source is not None}


def load_catalog(root: Path) -> Catalog:
    """Every contract below `root`.

    Raises:
        ContractError: one error that lists every fault found, each with file, line and hint.
    """
    if not root.is_dir():
        raise ContractError(
            f"{root}: no such folder of contracts", hint="name it with --assets or MEDALLION_ASSETS"
        )
    contracts, faults = list[Contract](), list[str]()
    for path in sorted(path for layer in LAYERS for path in root.glob(f"*/{layer}/*.yaml")):
        try:
            contracts.append(load_contract(path))
        except ContractError as error:
            faults.append(str(error))
    faults += list(_faults_between(contracts))
    if faults:
        raise ContractError("\n".join(faults))
    ordered = sorted(contracts, key=lambda c: (LAYERS.index(c.layer), c.table))
    return Catalog(root, {contract.table: contract for contract in ordered})


def read_mapping(path: Path, what: str, begin: str) -> tuple[yaml.Node, dict[str, Any]]:
    """A YAML file that holds one mapping, with its node, which knows the lines.

    Raises:
        ContractError: when it is none, or a key stands twice; `begin` is the hint how one begins.
    """
    try:
        text = path.read_text("utf-8")
        # Parsed once: most of the time of a large catalog goes here.
        loader = _Loader(text)
        node = loader.get_single_node()
        document = None if node is None else loader.construct_document(node)
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or node is None:
        raise ContractError(f"{path}:1: {what} is a mapping", hint=begin)
    repeated = _repeated_key(node)
    if repeated is not None:
        raise ContractError(f"{path}:{repeated[1]}: key '{repeated[0]}' stands twice")
    return node, document


def load_contract(path: Path) -> Contract:
    """The contract in one YAML file.

    Raises:
        ContractError: with file and line of each fault, and what to write instead.
    """
    node, document = read_mapping(
        path, "a contract", "start it with 'table: silver.<domain>.<name>'"
    )
    sql_path = path.with_suffix(".sql")
    sql = sql_path.read_text("utf-8") if sql_path.is_file() else None
    for name in ("path", "sql"):
        if name in document:
            raise ContractError(
                f"{path}:{_line_of(node, (name,))}: '{name}' is not a key of a contract"
            )
    given: dict[str, Any] = {**document, "path": path, "sql": sql}
    try:
        contract = Contract.model_validate(given)
    except ValidationError as error:
        raise ContractError(
            "\n".join(
                explain(path, node, fault, Contract, "a contract") for fault in error.errors()
            )
        ) from error
    _refuse_misplaced(contract, path)
    return contract


def _refuse_misplaced(contract: Contract, path: Path) -> None:
    expected = f"{path.parent.name}.{path.parent.parent.name}.{path.stem}"
    if contract.table != expected:
        raise ContractError(
            f"{path}: table is '{contract.table}', but the file's place says '{expected}'",
            hint="a contract lies at <domain>/<layer>/<table>.yaml",
        )
    if contract.layer != "silver" and contract.sql is None:
        raise ContractError(
            f"{path}: {'a gold table' if contract.layer == 'gold' else 'an export'} has its SQL beside it",
            hint=f"write {path.with_suffix('.sql').name}",
        )


def _faults_between(contracts: list[Contract]) -> Iterable[str]:
    by_table = {contract.table: contract for contract in contracts}
    seen: dict[str, Contract] = {}
    for contract in contracts:
        for fact in (contract.source.topic, contract.bronze) if contract.source else ():
            other = seen.setdefault(fact, contract)
            if other is not contract:
                yield f"{contract.path}: '{fact}' feeds {other.table} already ({other.path})"
        if contract.export is not None:
            other = seen.setdefault(f"/{contract.export_file}", contract)
            if other is not contract:
                yield f"{contract.path}: {other.table} writes '{contract.export_file}' already ({other.path})"
        for at, rule in enumerate(contract.rules):
            yield from _reference_faults(contract, at, rule.name, rule.reference, by_table)


def _reference_faults(
    contract: Contract, at: int, rule: str, reference: Any, by_table: Mapping[str, Contract]
) -> Iterable[str]:
    if reference is None:
        return
    parent = by_table.get(reference.table)
    known = by_table if parent is None else parent.columns
    wanted = reference.table if parent is None else reference.column_there
    if wanted not in known:
        what = "table" if parent is None else f"column of {reference.table}"
        hint = did_you_mean(wanted, known)
        line = line_in(contract.path, ("rules", at))
        yield f"{contract.path}:{line}: rule '{rule}' refers to '{wanted}', which is no {what}" + (
            f"\n  Hint: {hint}" if hint else ""
        )


def explain(path: Path, node: yaml.Node, fault: Any, model: type[BaseModel], what: str) -> str:
    """A fault that Pydantic found in a file's mapping: where it is, and what to write instead."""
    context: Mapping[str, Any] = fault.get("ctx", {})
    location: tuple[str | int, ...] = context.get("place") or fault["loc"]
    place = ".".join(str(part) for part in location if part != "[key]") or what.split()[-1]
    line = _line_of(node, location)
    if fault["type"] == "extra_forbidden":
        hint = did_you_mean(str(location[-1]), _known_keys(model, location[:-1]))
        text = f"{path}:{line}: '{place}' is not a key of {what}"
        return text + (
            f"\n  Hint: {hint}"
            if hint
            else f"\n  Hint: the keys here are {', '.join(_known_keys(model, location[:-1]))}"
        )
    message = str(fault["msg"]).removeprefix("Value error, ")
    told = f"\n  Hint: {context['hint']}" if context.get("hint") else ""
    return f"{path}:{line}: {place}: {message}{told}"


def line_in(path: Path, location: tuple[str | int, ...]) -> int:
    """The line of a contract's file that holds a part of it; 1 where the file is gone."""
    node = yaml.compose(path.read_text("utf-8"), Loader=_Loader) if path.is_file() else None
    return 1 if node is None else _line_of(node, location)


def _line_of(node: yaml.Node, location: tuple[str | int, ...]) -> int:
    """The line of the deepest part of `location` that the file has."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif (
            isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value)
        ):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _repeated_key(node: yaml.Node) -> tuple[str, int] | None:
    """A mapping key that stands twice: YAML would keep the last in silence."""
    if isinstance(node, yaml.MappingNode):
        seen = set[str]()
        for key, value in node.value:
            if key.value in seen:
                return key.value, key.start_mark.line + 1
            seen.add(key.value)
            if (inner := _repeated_key(value)) is not None:
                return inner
    if isinstance(node, yaml.SequenceNode):
        return next(
            (found for child in node.value if (found := _repeated_key(child)) is not None), None
        )
    return None


def _known_keys(root: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys that the model allows at `location`, found by walking its annotations."""
    model: Any = root
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            known = model.model_fields.get(str(part))
            model = _inner_model(known.annotation) if known is not None else model
    fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
    return [name for name, info in fields.items() if not info.exclude]


def _inner_model(annotation: Any) -> Any:
    """The model inside `tuple[Model, ...]`, `dict[str, Model]`, `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_inner_model(argument) for argument in get_args(annotation)]
    return next((model for model in inner if model is not None), None)
