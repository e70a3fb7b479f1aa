"""What a follower tells OpenLineage: a run a table, from its first change to the end of following.

A run that has no end of its own says RUNNING now and then, as the streaming integrations do: each
such event holds what was written since the one before, and a table without news sends none.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.errors import MedallionError
from pipelines.gold import Built
from pipelines.run_events import RunEvents
from pipelines.silver import Applied
from quality_rules.results import RuleResult


@dataclass(slots=True)
class _Run:
    """A table's run; `before` is the table's version when its last event was sent."""

    run_id: str
    before: int | None
    report: Applied | Built | None = None
    news: bool = True


class Telling:
    """The runs of one follower; used by its refining thread alone.

    `seconds` lie between two events of a table.
    """

    def __init__(self, events: RunEvents, seconds: float, bronze: Iterable[str]) -> None:
        self._events, self._seconds = events, seconds
        self._runs, self._failed = dict[str, _Run](), set[str]()
        self._told_at = time.monotonic()
        #: A bronze table's rows are counted by its commits: from where it stands now.
        self._began = {} if events.silent else {t: events.facts.version(t) for t in bronze}

    def changed(self, table: str, report: Applied | Built | None = None) -> None:
        """A table holds something new; its first change begins its run, as does one after a failure."""
        if self._events.silent:
            return
        run = self._runs.get(table)
        if run is None:
            run = self._runs[table] = self._begin(table)
        self._failed.discard(table)
        run.news = True
        if isinstance(run.report, Applied) and isinstance(report, Applied):
            report = run.report.after(report)
        run.report = report

    def failed(self, table: str, error: MedallionError) -> None:
        """A table could not be brought on: its run ends, and tries that fail as well say nothing."""
        if self._events.silent or table in self._failed:
            return
        self._failed.add(table)
        run = self._runs.pop(table, None) or self._begin(table)
        self._events.tell("FAIL", table, run.run_id, failure=error)

    def tell(self) -> None:
        """RUNNING for each table with news, once the time for it has come."""
        if time.monotonic() - self._told_at < self._seconds:
            return
        self._told_at = time.monotonic()
        for table, run in self._runs.items():
            if run.news:
                self._events.tell("RUNNING", table, run.run_id, run.report, before=run.before)
                run.before, run.report, run.news = self._events.facts.version(table), None, False

    def judged(self, table: str, results: Sequence[RuleResult]) -> None:
        """The rules' verdicts on a whole table."""
        self._events.tell_checks(table, results)

    def close(self, error: BaseException | None = None) -> None:
        """Ends every run, as a failure where an error ends following."""
        state = "COMPLETE" if error is None else "FAIL"
        for table, run in self._runs.items():
            self._events.tell(
                state, table, run.run_id, run.report, before=run.before, failure=error
            )
        self._runs.clear()

    def _begin(self, table: str) -> _Run:
        run = _Run(str(uuid.uuid4()), self._began.get(table))
        self._events.tell("START", table, run.run_id)
        return run
