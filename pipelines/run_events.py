"""Each step of a run told to OpenLineage: START before it, COMPLETE or FAIL after it.

Who tells is no part of the step: nothing here can make one fail or change what it does. Where no
listener is configured, nothing is computed.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from lineage.openlineage.facts import DatasetFact, JobFact, ParentFact, State, StepFact
from pipelines.contract import Catalog
from pipelines.run_facts import Report, RunFacts, check_of, failure_of
from pipelines.settings import Settings
from pipelines.storage import Lake
from pipelines.version import CODE_VERSION
from quality_rules.results import RuleResult

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Takes the facts of a step; returns at once."""

    def tell(self, step: StepFact) -> None:
        """Passes them on."""
        ...

    def close(self) -> object:
        """Waits a little for what is on its way."""
        ...


@dataclass(slots=True)
class Told:
    """What a step says of its end; nothing said means it wrote nothing."""

    report: Report | None = None
    checks: Sequence[RuleResult] = ()

    def done(self, report: Report, checks: Sequence[RuleResult] | None = None) -> None:
        """What it did, and what the rules say of its table now."""
        self.report, self.checks = report, checks or ()


@dataclass(frozen=True)
class RunEvents:
    """The steps of one run. `parent` is the run they are parts of; without a listener all is silent."""

    facts: RunFacts
    listener: Listener | None = None
    namespace: str = "medallion"
    parent: ParentFact | None = None

    @property
    def silent(self) -> bool:
        """Whether nobody listens."""
        return self.listener is None

    @contextmanager
    def step(self, table: str) -> Generator[Told]:
        """One table being made."""
        told = Told()
        if self.listener is None:
            yield told
            return
        run_id = str(uuid.uuid4())
        before = self.facts.version(table)
        self.tell("START", table, run_id)
        try:
            yield told
        except BaseException as error:
            self.tell("FAIL", table, run_id, told.report, failure=error)
            raise
        self.tell("COMPLETE", table, run_id, told.report, before=before)
        if told.checks:
            self.tell_checks(table, told.checks)

    def tell(
        self,
        state: State,
        table: str,
        run_id: str,
        report: Report | None = None,
        *,
        before: int | None = None,
        failure: BaseException | None = None,
    ) -> None:
        """One state of a run that makes a table; `before` is the version that it began with."""
        if self.silent:
            return
        try:
            fact = replace(
                self._fact(state, run_id, self.facts.job(table)),
                parent=self.parent,
                inputs=self.facts.inputs(table, report),
                outputs=self._outputs(state, table, report, before),
                failure=failure and failure_of(failure),
            )
        except Exception:
            log.warning("OpenLineage: %s of %s was not told", state, table, exc_info=True)
            return
        self._pass_on(fact)

    @contextmanager
    def steps(self, tables: Iterable[str]) -> Generator[None]:
        """Several tables being made by one process at once: a run each."""
        with ExitStack() as stack:
            for table in tables:
                stack.enter_context(self.step(table))
            yield

    @contextmanager
    def whole(self, description: str = "") -> Generator[None]:
        """The run itself, as the parent of its steps; the listener is closed at its end."""
        if self.listener is None or self.parent is None:
            yield
            return
        job = JobFact(
            name=self.parent.job,
            type="COMMAND",
            description=description,
            streaming=self.facts.streaming,
        )
        now = self._fact("START", self.parent.run_id, job)
        self._pass_on(now)
        try:
            yield
        except BaseException as error:
            self._pass_on(replace(now, state="FAIL", at=_now(), failure=failure_of(error)))
            raise
        else:
            self._pass_on(replace(now, state="COMPLETE", at=_now()))
        finally:
            self.listener.close()

    def _fact(self, state: State, run_id: str, job: JobFact) -> StepFact:
        return StepFact(
            state=state,
            at=_now(),
            run_id=run_id,
            job=job,
            namespace=self.namespace,
            engine=("polars", pl.__version__),
            adapter=CODE_VERSION,
        )

    def _outputs(
        self, state: State, table: str, report: Report | None, before: int | None
    ) -> tuple[DatasetFact, ...]:
        """What is written; what became of it is known at the end alone."""
        made = self.facts.outputs(table, report, before)
        if state in ("RUNNING", "COMPLETE"):
            return made
        return tuple(replace(each, version=None, rows_written=None) for each in made)

    def tell_checks(self, table: str, checks: Sequence[RuleResult]) -> None:
        """The rules' verdicts, as a run of a job that only reads: so OpenLineage has assertions."""
        if self.silent:
            return
        try:
            job, run_id = self.facts.checks_job(table), str(uuid.uuid4())
            judged = self.facts.table(table, self.facts.version(table))
            began = replace(
                self._fact("START", run_id, job),
                parent=self.parent,
                inputs=(judged,),
            )
            found = replace(judged, checks=tuple(check_of(result) for result in checks))
            done = replace(began, state="COMPLETE", at=_now(), inputs=(found,))
        except Exception:
            log.warning("OpenLineage: the checks of %s were not told", table, exc_info=True)
            return
        self._pass_on(began)
        self._pass_on(done)

    def _pass_on(self, fact: StepFact) -> None:
        if self.listener is None:
            return
        try:
            self.listener.tell(fact)
        except Exception:
            log.warning(
                "OpenLineage: %s of %s was not told", fact.state, fact.job.name, exc_info=True
            )


@contextmanager
def told_events(
    settings: Settings,
    lake: Lake,
    catalog: Catalog,
    job: str,
    *,
    files: Sequence[Path] = (),
    streaming: bool = False,
) -> Generator[RunEvents]:
    """The events of one command, which is a run itself and the parent of its steps."""
    events = RunEvents(
        facts=RunFacts(
            lake, catalog, settings.bootstrap, tuple(files), streaming, settings.exports_root
        ),
        listener=open_listener(settings),
        namespace=settings.job_namespace,
        parent=ParentFact(run_id=str(uuid.uuid4()), job=job),
    )
    with events.whole():
        yield events


def open_listener(settings: Settings) -> Listener | None:
    """Whoever the settings of OpenLineage name; None when nobody, or when they cannot be read."""
    if not settings.openlineage:
        return None
    from lineage.openlineage.sender import open_sender

    try:
        return open_sender(settings.outbox)
    except Exception:
        log.warning("OpenLineage: its settings cannot be used; nothing is told", exc_info=True)
        return None


def _now() -> datetime:
    return datetime.now(UTC)
