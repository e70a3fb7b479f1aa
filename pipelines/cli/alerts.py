"""alerts: who is told of what, what is wrong now, and what was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipelines.alerts import Alerts, check_alerts, load_alerts
from pipelines.alerts.check import incidents_of
from pipelines.alerts.receivers import Message, send
from pipelines.cli.options import AssetsOption, JsonOption, LakeOption, StorageOption
from pipelines.cli.show import note, out, print_records
from pipelines.contract import did_you_mean, load_catalog
from pipelines.errors import SettingsError
from pipelines.ingest import open_lake
from pipelines.settings import Settings, load_settings

alerts_app = typer.Typer(help="What went wrong, told once to who asked.", no_args_is_help=True)


@alerts_app.command()
def check(
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for failed error rules, quarantines that grow and stale tables; tell of what is new and what is over.

    `run` does it at its end, and so does Dagster's sensor `alerts`. Told once: the same again tells nothing.

    Examples:
        medallion alerts check

        */5 * * * * medallion alerts check --lake /data/lake
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog, alerts = load_catalog(settings.assets), _configured(settings)
    done = check_alerts(open_lake(settings), catalog, alerts, datetime.now(UTC))
    if as_json:
        print_records(
            [
                {
                    "opened": list(done.opened),
                    "over": list(done.over),
                    "open_now": done.open_now,
                    "messages": done.messages,
                    "errors": list(done.errors),
                }
            ],
            as_json=True,
        )
        return
    for line in (*done.opened, *done.over):
        out.print(line, markup=False, highlight=False)
    out.print(f"{done.open_now:,} incidents open; {done.messages:,} messages sent", highlight=False)
    for error in done.errors:
        note(f"{error}; it is told at the next check")


@alerts_app.command("list")
def list_command(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    lake: LakeOption = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the incidents that are open: what, since when, and who has been told.

    Examples:
        medallion alerts list

        medallion alerts list --all --json
    """
    rows = incidents_of(open_lake(load_settings(lake=lake, storage=storage or ())))
    shown = rows if everything else rows.filter(rows["over_at"].is_null())
    beside = ["claimed_at"] if as_json else ["claimed_at", "incident_id", "kind", "subject"]
    print_records(shown.drop(beside).to_dicts(), as_json=as_json)


@alerts_app.command("test")
def try_command(
    receiver: Annotated[str, typer.Argument(help="A receiver of alerts.yaml.")],
    assets: AssetsOption = None,
) -> None:
    """Send a receiver a message that says it is a test.

    Example:
        MEDALLION_ALERTS_OPS_URL=https://hooks.slack.com/services/... medallion alerts test ops
    """
    alerts = _configured(load_settings(assets=assets))
    if receiver not in alerts.receivers:
        hint = did_you_mean(receiver, alerts.receivers)
        raise SettingsError(f"there is no receiver '{receiver}'", hint=hint)
    text = ("Nothing is wrong: somebody tries whether alerts come through.",)
    send(receiver, alerts.receivers[receiver], Message("Medallion: a test", text))
    out.print(f"{receiver} took it", highlight=False)


def _configured(settings: Settings) -> Alerts:
    alerts = load_alerts(settings)
    if alerts is None:
        raise SettingsError(
            f"nobody is to be told: there is no {settings.assets}/alerts.yaml",
            hint="write it, or name another file in MEDALLION_ALERTS; docs/alerts.md shows one",
        )
    return alerts
