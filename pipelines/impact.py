"""What a proposed change of contracts reaches: every table, column, rule and owner, by lineage."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lineage.graph import ColumnRef, LineageGraph
from pipelines.checks import check_sql
from pipelines.contract import Catalog, Contract, load_catalog
from pipelines.contract.changes import Change, changes_between, unmarked
from pipelines.contract.load import LAYERS, load_contract
from pipelines.contract.rules import rules_of
from pipelines.errors import ContractError
from pipelines.provenance import lineage_of
from quality_rules.rule import Rule, RuleKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """All that may come out otherwise by one change, what itself changed included."""

    columns: tuple[ColumnRef, ...]
    rules: tuple[str, ...]
    owners: tuple[str, ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables of the columns."""
        return tuple(dict.fromkeys(ref.table for ref in self.columns))


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """The changes with what each reaches.

    `problems` is what is wrong with the new contracts together; `unmarked` are the tables whose
    breaking change came without a new major version.
    """

    changes: tuple[tuple[Change, Reach], ...]
    problems: tuple[str, ...]
    unmarked: tuple[str, ...]


def impact_of(old: Path, new: Path) -> Impact:
    """The differences between two folders of contracts, and what each reaches.

    Raises:
        ContractError: when a contract of either cannot be read on its own, or the old ones do not
            fit together.
    """
    before, after = load_catalog(old), _each_alone(new)
    changes = changes_between(before.contracts, after.contracts)
    was = LineageGraph.of(list(lineage_of(before).values()))
    problems, graphs = list[str](), [was]
    try:
        whole = load_catalog(new)
        problems += check_sql(whole).faults
        graphs.append(LineageGraph.of(list(lineage_of(whole).values())))
    except ContractError as error:
        problems.append(str(error))
    both = (*before.contracts.values(), *after.contracts.values())
    return Impact(
        changes=tuple((change, _reach(change, graphs, both)) for change in changes),
        problems=tuple(dict.fromkeys(problems)),
        unmarked=unmarked(before.contracts, after.contracts, changes),
    )


def _each_alone(root: Path) -> Catalog:
    """The contracts as files, whether they fit together or not: that is what is asked."""
    if not root.is_dir():
        raise ContractError(f"{root}: no such folder of contracts")
    paths = sorted(path for layer in LAYERS for path in root.glob(f"*/{layer}/*.yaml"))
    contracts = [load_contract(path) for path in paths]
    return Catalog(root, {contract.table: contract for contract in contracts})


def _reach(change: Change, graphs: Sequence[LineageGraph], both: Sequence[Contract]) -> Reach:
    contracts = {contract.table: contract for contract in both}
    starts = list(dict.fromkeys(s for graph in graphs for s in _starts(change, graph, contracts)))
    columns = dict.fromkeys(starts)
    for graph in graphs:
        for start in starts:
            hops = graph.downstream(start, indirect=True) if start in graph.columns else ()
            columns |= dict.fromkeys(hop.target for hop in hops)
    rules = {f"{rule.table}.{rule.name}" for rule in _rules(change, [*columns], both)}
    tables = dict.fromkeys(ref.table for ref in columns) or {change.table: None}
    owners = {contracts[t].owner for t in map(_told_by, tables) if t in contracts}
    return Reach(
        columns=tuple(sorted(columns)), rules=tuple(sorted(rules)), owners=tuple(sorted(owners))
    )


def _starts(
    change: Change, graph: LineageGraph, contracts: Mapping[str, Contract]
) -> Iterator[ColumnRef]:
    """The columns that a change is about, those of the table's history too."""
    contract = contracts[change.table]
    for table in (change.table, contract.sibling("history")):
        if table not in graph.tables or (table != change.table and contract.layer != "silver"):
            continue
        names = graph.tables[table].columns if change.column is None else (change.column,)
        for name in names:
            ref = ColumnRef(table, name)
            if ref in graph.columns:
                yield ref


def _told_by(table: str) -> str:
    """The table whose contract tells of this one."""
    return table.replace("history.", "silver.", 1)


def _rules(
    change: Change, columns: Sequence[ColumnRef], both: Sequence[Contract]
) -> Iterator[Rule]:
    """The rules, old and new, that read a column that is reached, or refer to one that changed."""
    reached = {ColumnRef(_told_by(ref.table), ref.column) for ref in columns}
    changed = {ref for ref in reached if ref.table == change.table}
    for contract in both:
        for rule in rules_of(contract):
            reads = {ColumnRef(rule.table, name) for name in _read_by(rule, contract)}
            if rule.kind is RuleKind.REFERENCE:
                refers = ColumnRef(rule.params["table"], rule.params["column"])
                reads |= {refers} & changed
            own = rule.name == change.rule and rule.table == change.table
            if own or reads & reached:
                yield rule


def _read_by(rule: Rule, contract: Contract) -> Iterable[str]:
    """The columns that a rule reads; of a condition that cannot be read, all there are."""
    if rule.kind is not RuleKind.EXPRESSION:
        return rule.columns
    try:
        condition = sqlglot.parse_one(rule.params["sql"])
    except SqlglotError:
        return contract.columns
    return {column.name for column in condition.find_all(exp.Column)}


# ---- OLD AND NEW ---- #


@contextmanager
def contracts_at(place: str, root: Path) -> Generator[Path]:
    """The folder that `place` names, or the contracts of `root` as they were at that git revision.

    Raises:
        ContractError: when it is neither.
    """
    if Path(place).is_dir():
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="contracts-") as folder:
        _export(place, root, Path(folder))
        yield Path(folder)


def _export(revision: str, root: Path, folder: Path) -> None:
    if revision.startswith("-"):
        raise ContractError(f"'{revision}' is no folder and no git revision")
    command = ["git", "-C", str(root), "archive", "--format=tar", revision, "."]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise ContractError(f"git cannot be started: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ContractError(
            f"'{revision}' is no folder, and no git revision that holds {root}",
            hint=said[-1] if said else "give two folders of contracts",
        )
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        for member in archive:
            _unpack(archive, member, folder)


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Writes a file within the folder; links and what would lie elsewhere are left out."""
    path = (folder / member.name).resolve()
    content = archive.extractfile(member) if member.isfile() else None
    if content is not None and path.is_relative_to(folder.resolve()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.read())
