"""Each trouble an incident: told once when it begins, and once when it is over.

Steps, each guarded by the version of the table of incidents, so that of two processes one goes on:

1. find what is wrong now
2. keep it: incidents opened and over, and that this process tells of them
3. tell each receiver, one message for all that it has to hear
4. keep who heard what; who did not is told at the next check

A crash between 3 and 4 tells once more, after `_CLAIM`; nothing is told to nobody.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from deltalake import DeltaTable

from pipelines.alerts.configuration import Alerts, On, load_alerts
from pipelines.alerts.receivers import Message, ReceiverError, send
from pipelines.alerts.trouble import (
    FAILED_RULE,
    QUARANTINE,
    STALE,
    Trouble,
    failed_rules,
    growing_quarantines,
    lasting,
    stale_tables,
)
from pipelines.contract import Catalog
from pipelines.errors import ConflictError, MedallionError
from pipelines.settings import Settings
from pipelines.storage import Lake

INCIDENTS = "system.main.alert_incidents"

_UTC = pl.Datetime("us", "UTC")
_INCIDENTS: Mapping[str, pl.DataType] = {
    "incident_id": pl.String(),
    "kind": pl.String(),
    "table_name": pl.String(),
    "subject": pl.String(),
    "detail": pl.String(),
    "opened_at": _UTC,
    "over_at": _UTC,
    "told": pl.List(pl.String()),
    "told_over": pl.List(pl.String()),
    "claimed_at": _UTC,
}

#: Longer than all receivers together may take; after it, another process tells what this one did not.
_CLAIM = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A trouble from its beginning to its end, and who has heard of either."""

    incident_id: str
    kind: str
    table_name: str
    subject: str
    detail: str
    opened_at: datetime
    over_at: datetime | None = None
    told: tuple[str, ...] = ()
    told_over: tuple[str, ...] = ()
    claimed_at: datetime | None = None

    @property
    def identity(self) -> tuple[str, str, str]:
        """That of its trouble."""
        return self.kind, self.table_name, self.subject

    def pending(self, to: Sequence[str]) -> tuple[str, ...]:
        """Who has still to hear: of its beginning, or if they heard of that, of its end."""
        if self.over_at is None:
            return tuple(name for name in to if name not in self.told)
        return tuple(name for name in to if name in self.told and name not in self.told_over)

    def heard(self, name: str) -> Incident:
        """Once a receiver has been told how it stands."""
        if self.over_at is None:
            return replace(self, told=(*self.told, name))
        return replace(self, told_over=(*self.told_over, name))

    def line(self) -> str:
        """What a receiver reads."""
        if self.over_at is None:
            return f"{self.kind.upper().replace('_', ' ')}: {self.detail}"
        what = f"rule '{self.subject}'" if self.subject else self.kind
        return f"OVER after {lasting(self.over_at - self.opened_at)}: {self.table_name}: {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check found and told: lines of incidents that began or ended, and what went wrong with telling."""

    opened: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    open_now: int = 0
    messages: int = 0
    errors: tuple[str, ...] = ()


@dataclass(slots=True)
class _Kept:
    """The table of incidents as it was read, and who wants to hear of which kind."""

    lake: Lake
    handle: DeltaTable
    incidents: list[Incident]
    to: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])

    def write(self, incidents: list[Incident]) -> None:
        """Keeps the incidents, if they changed; guarded by the version that was read."""
        if incidents == self.incidents:
            return
        rows = [tuple(getattr(each, name) for name in _INCIDENTS) for each in incidents]
        frame = pl.DataFrame(rows, schema=dict(_INCIDENTS), orient="row")
        version = self.handle.version() + 1
        self.lake.write(self.handle, frame, mode="overwrite", app={INCIDENTS: version})
        self.handle, self.incidents = self.lake.handle(INCIDENTS), incidents


def check_alerts(
    lake: Lake,
    catalog: Catalog,
    alerts: Alerts,
    now: datetime,
    *,
    pause: Callable[[float], None] | None = None,
) -> Checked:
    """Looks at the lake, and tells of what began and what is over. The same again tells nothing.

    Raises:
        ConflictError: when another process checks at the same time; it tells, this one need not.
        LakeError: when a table cannot be read or written.
    """
    wanted = {
        kind: on.to
        for kind, on in (
            (FAILED_RULE, alerts.failed_rule),
            (QUARANTINE, alerts.quarantine),
            (STALE, alerts.stale),
        )
        if isinstance(on, On)
    }
    troubles = {each.identity: each for each in _troubles(lake, catalog, alerts, now)}
    kept = _open(lake, wanted)
    opened, over = _settled(kept, troubles, now)
    mine = {
        each.incident_id
        for each in kept.incidents
        if each.claimed_at == now and each.pending(wanted.get(each.kind, ()))
    }
    messages, errors = _tell(kept, alerts, mine, pause)
    return Checked(
        opened=tuple(each.line() for each in opened),
        over=tuple(each.line() for each in over),
        open_now=sum(each.over_at is None for each in kept.incidents),
        messages=messages,
        errors=tuple(errors),
    )


def _troubles(lake: Lake, catalog: Catalog, alerts: Alerts, now: datetime) -> Iterator[Trouble]:
    if alerts.failed_rule is not None:
        yield from failed_rules(lake, catalog)
    if alerts.quarantine is not None:
        yield from growing_quarantines(lake, catalog, alerts.quarantine, now)
    if alerts.stale is not None:
        yield from stale_tables(lake, catalog, now)


def _open(lake: Lake, to: Mapping[str, Sequence[str]]) -> _Kept:
    handle = lake.create(INCIDENTS, _INCIDENTS)
    rows = lake.scan_handle(handle).select(*_INCIDENTS).sort("opened_at", "incident_id").collect()
    incidents = [_incident(row) for row in rows.rows(named=True)]
    return _Kept(lake, handle, incidents, to)


def _incident(row: dict[str, Any]) -> Incident:
    heard: dict[str, Any] = {name: tuple(row[name]) for name in ("told", "told_over")}
    return Incident(**{**row, **heard})


def _settled(
    kept: _Kept, troubles: Mapping[tuple[str, str, str], Trouble], now: datetime
) -> tuple[list[Incident], list[Incident]]:
    """Keeps what began and what is over, claiming what is to be told; both."""
    known = {each.identity for each in kept.incidents if each.over_at is None}
    # A kind that is no longer watched ends in silence: nobody is told of it.
    ended = {
        each.incident_id: replace(each, over_at=now)
        for each in kept.incidents
        if each.over_at is None and each.identity not in troubles
    }
    opened = [
        Incident(
            incident_id=str(uuid.uuid4()),
            kind=each.kind,
            table_name=each.table,
            subject=each.subject,
            detail=each.detail,
            opened_at=now,
        )
        for identity, each in troubles.items()
        if identity not in known
    ]
    incidents = [*(ended.get(each.incident_id, each) for each in kept.incidents), *opened]
    kept.write([_claimed(each, kept.to, now) for each in incidents])
    return opened, list(ended.values())


def _claimed(incident: Incident, to: Mapping[str, Sequence[str]], now: datetime) -> Incident:
    """The incident, to be told by this process, unless another is at it."""
    at_it = incident.claimed_at is not None and now - incident.claimed_at < _CLAIM
    if at_it or not incident.pending(to.get(incident.kind, ())):
        return incident
    return replace(incident, claimed_at=now)


def _tell(
    kept: _Kept, alerts: Alerts, mine: set[str], pause: Callable[[float], None] | None
) -> tuple[int, list[str]]:
    """Tells each receiver what it has to hear; how many messages were taken, and what went wrong."""
    incidents, messages, errors = list(kept.incidents), 0, list[str]()
    for name, receiver in alerts.receivers.items():
        due = [
            each
            for each in incidents
            if each.incident_id in mine and name in each.pending(kept.to.get(each.kind, ()))
        ]
        if not due:
            continue
        try:
            send(name, receiver, message_of(due), **({} if pause is None else {"pause": pause}))
        except ReceiverError as error:
            errors.append(str(error))
            continue
        messages += 1
        told = {each.incident_id for each in due}
        incidents = [each.heard(name) if each.incident_id in told else each for each in incidents]
    done = [
        replace(each, claimed_at=None) if each.incident_id in mine else each for each in incidents
    ]
    kept.write(done)
    return messages, errors


def message_of(incidents: Sequence[Incident]) -> Message:
    """One message for what began and what is over."""
    over = sum(each.over_at is not None for each in incidents)
    parts = {"began": len(incidents) - over, "over": over}
    title = ", ".join(f"{number} {what}" for what, number in parts.items() if number)
    ordered = sorted(incidents, key=lambda each: each.identity)
    return Message(f"Medallion: {title}", tuple(each.line() for each in ordered))


def tell_of_trouble(
    settings: Settings, lake: Lake, catalog: Catalog, now: datetime, say: Callable[[str], None]
) -> None:
    """After a run: looks and tells, where somebody asked for it. What goes wrong is said, and breaks nothing."""
    try:
        alerts = load_alerts(settings)
        done = Checked() if alerts is None else check_alerts(lake, catalog, alerts, now)
    except ConflictError:
        say("alerts: another process checks them")
    except MedallionError as error:
        say(f"alerts: {error}")
    else:
        for error in done.errors:
            say(f"alerts: {error}; it is told at the next check")


def incidents_of(lake: Lake) -> pl.DataFrame:
    """All incidents, newest first."""
    if lake.version(INCIDENTS) is None:
        return pl.DataFrame(schema=dict(_INCIDENTS))
    return lake.scan(INCIDENTS).sort("opened_at", "incident_id", descending=True).collect()
