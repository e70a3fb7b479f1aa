"""What the catalog shows of a table: words from its contract, facts from the lake, never a row's value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lineage.graph import ColumnRef, TableLineage
from lineage.privacy import CLASSES


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnEntry:
    """One column; `added` is one that no contract names: the platform gives it to every table of the layer."""

    name: str
    type: str = ""
    description: str = ""
    classification: str = "internal"
    mask: str | None = None
    required: bool = False
    key: bool = False
    added: bool = False

    @property
    def rank(self) -> int:
        """How secret: 0 public to 3 restricted."""
        return CLASSES.index(self.classification)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A rule's result at one time; `rate` is the percentage of rows that kept it.

    `passed` is the rule's own verdict: a table may pass with some rows that break it, and fail as a
    whole with none.
    """

    at: datetime
    records: int
    failed: int
    rate: float
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEntry:
    """One rule with its results, oldest first."""

    name: str
    says: str
    severity: str
    columns: tuple[str, ...] = ()
    description: str = ""
    active: bool = True
    results: tuple[Judged, ...] = ()

    @property
    def last(self) -> Judged | None:
        """The newest result."""
        return self.results[-1] if self.results else None

    @property
    def broken(self) -> bool:
        """Whether the table does not keep it now."""
        return self.last is not None and not self.last.passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A table in the lake: its newest version and when that was written, its rows, files and bytes."""

    version: int
    rows: int
    files: int
    size_bytes: int
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaChange:
    """A version of the table at which its columns became others; types as the Delta log spells them."""

    version: int
    at: datetime | None
    added: tuple[tuple[str, str], ...] = ()
    removed: tuple[tuple[str, str], ...] = ()
    retyped: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEntry:
    """One table of any layer; a source table is of layer `source`."""

    name: str
    layer: str
    domain: str
    description: str = ""
    owner: str = ""
    version: str = ""
    tags: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    columns: tuple[ColumnEntry, ...] = ()
    sql: str = ""
    rules: tuple[RuleEntry, ...] = ()
    storage: Storage | None = None
    quarantined: int | None = None
    freshness: timedelta | None = None
    schema_changes: tuple[SchemaChange, ...] = ()

    @property
    def short(self) -> str:
        """The name without layer and domain."""
        return self.name.rsplit(".", 1)[-1]

    @property
    def looked_at(self) -> datetime | None:
        """When the table was last written or judged: a run that finds no news judges all the same."""
        times = [rule.last.at for rule in self.rules if rule.last]
        if self.storage and self.storage.changed_at:
            times.append(self.storage.changed_at)
        return max(times, default=None)

    @property
    def broken_rules(self) -> tuple[RuleEntry, ...]:
        """The rules that the table does not keep now."""
        return tuple(rule for rule in self.rules if rule.broken)

    def late(self, now: datetime) -> bool:
        """Whether the promise of freshness is not kept at `now`; one never written is not late, but absent."""
        seen = self.looked_at
        return self.freshness is not None and seen is not None and now - seen > self.freshness


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """All that the pages are made of. `made_at` is an instant with zone.

    `leaks` are the steps, source and target, at which a classified value comes under a lower class
    unreleased; who gathers the site knows what releases it.
    """

    tables: Mapping[str, TableEntry]
    lineage: Mapping[str, TableLineage]
    made_at: datetime
    leaks: frozenset[tuple[ColumnRef, ColumnRef]] = frozenset()
    title: str = "Medallion"
