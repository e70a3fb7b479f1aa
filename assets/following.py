"""`medallion follow`: the long-lived process, and what it tells Dagster."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from types import FrameType
from typing import Annotated

import typer

from pipelines.cli import app
from pipelines.cli.options import (
    AssetsOption,
    BootstrapOption,
    KafkaOption,
    LakeOption,
    RegistryOption,
    StorageOption,
)
from pipelines.contract import load_catalog
from pipelines.errors import SettingsError
from pipelines.follow import Follower, Pace, serve
from pipelines.gold import Built
from pipelines.settings import load_settings
from pipelines.silver import Applied

#: A table is reported to Dagster at most this often: its event log is no time series.
_REPORT_SECONDS = 30.0


@app.command()
def follow(
    lake: LakeOption = None,
    assets: AssetsOption = None,
    bootstrap: BootstrapOption = None,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
    storage: StorageOption = None,
    group: Annotated[
        str | None,
        typer.Option(help="Consumer group; followers of one group share the partitions."),
    ] = None,
    batch_seconds: Annotated[
        float, typer.Option(help="Seconds a batch is kept open.", min=0.05)
    ] = Pace().batch,
    quality_seconds: Annotated[
        float, typer.Option(help="Seconds between two judgements of a whole table.", min=1)
    ] = Pace().quality,
    tell_seconds: Annotated[
        float, typer.Option(help="Seconds between two OpenLineage events of a table.", min=1)
    ] = Pace().tell,
    host: Annotated[
        str, typer.Option(help="Where /metrics, /healthz and /readyz listen.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Their port; 0 for none.", min=0, max=65535)] = 9464,
    no_report: Annotated[
        bool,
        typer.Option("--no-report", help="Tell Dagster (DAGSTER_HOME) nothing of what changed."),
    ] = False,
) -> None:
    """Capture, apply and build without end, in micro-batches; SIGTERM drains and ends.

    A kill at any moment loses and doubles nothing. Prometheus metrics and probes are on http://127.0.0.1:9464 (/metrics, /healthz, /readyz).

    Examples:
        medallion follow --bootstrap localhost:9092

        medallion follow --group nightshift --batch-seconds 1 --port 0
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    settings = load_settings(
        lake=lake,
        assets=assets,
        bootstrap=bootstrap,
        kafka=kafka or (),
        storage=storage or (),
        registry=registry,
    )
    follower = Follower(
        settings=settings,
        catalog=load_catalog(settings.assets),
        pace=Pace(batch=batch_seconds, quality=quality_seconds, tell=tell_seconds),
        group=group,
        report=_silent if no_report else _reporter(),
    )
    settings.brokers  # noqa: B018 - says at once when no broker is named

    def stop(_number: int, _frame: FrameType | None) -> None:
        follower.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if not port:
        follower.run()
        return
    with serve(follower.vitals, host, port) as at:
        typer.echo(f"following; metrics and probes on http://{host}:{at}", err=True)
        follower.run()


def _silent(_done: Applied | Built) -> None:
    return


def _reporter() -> Callable[[Applied | Built], None]:
    """Reports tables as materialized outside a run (Dagster, "External assets"), each now and then.

    Without DAGSTER_HOME there is nobody to tell.

    Raises:
        SettingsError: when DAGSTER_HOME holds no instance.
    """
    # Dagster takes two seconds to import, which no other command should pay for.
    import dagster as dg
    from dagster._core.errors import DagsterHomeNotSetError

    from assets.keys import key_of

    try:
        instance = dg.DagsterInstance.get()
    except DagsterHomeNotSetError:
        return _silent
    except dg.DagsterError as error:
        raise SettingsError(
            f"DAGSTER_HOME: {error}", hint="mend it, or leave reports out with --no-report"
        ) from error
    told = dict[str, float]()

    def report(done: Applied | Built) -> None:
        now = time.monotonic()
        if now - told.get(done.table, -_REPORT_SECONDS) < _REPORT_SECONDS:
            return
        told[done.table] = now
        counts = {
            name: value for name, value in asdict(done).items() if isinstance(value, int | float)
        }
        try:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(key_of(done.table), metadata=counts)
            )
        except Exception as error:  # noqa: BLE001 - Dagster's storage may be anything; the data goes on
            logging.getLogger(__name__).warning("Dagster: %s", error)

    return report
