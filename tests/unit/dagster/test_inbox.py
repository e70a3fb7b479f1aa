"""A folder that Dagster watches: files start a run, which takes each once and tells of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dagster as dg
import pytest

from assets.arrivals import inbox_sensor
from assets.definitions import definitions_of
from assets.keys import key_of
from pipelines.storage import Lake
from tests.spec.domains import only

NAMES = b"alias,channel\nGoogle Ads,search\n"


def put(inbox: Path, name: str, data: bytes) -> None:
    (inbox / name).write_bytes(data)
    os.utime(inbox / name, (time.time() - 60, time.time() - 60))


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    monkeypatch.setenv("MEDALLION_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("MEDALLION_INBOX", str(folder))
    monkeypatch.delenv("MEDALLION_BOOTSTRAP", raising=False)
    return folder


def asked(
    instance: dg.DagsterInstance, cursor: str | None = None
) -> tuple[list[object], str | None]:
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        return list(inbox_sensor()(context)), context.cursor


def test_files_start_one_run(inbox: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        put(inbox, "channel_names.csv", NAMES)
        first, cursor = asked(instance)
        assert [type(each) for each in first] == [dg.RunRequest]
        again, cursor = asked(instance, cursor)
        assert [each.skip_message for each in again] == ["a run was started for these 1 files, and left them"]  # fmt: skip
        put(inbox, "channel_names_2.csv", NAMES)
        more, _ = asked(instance, cursor)
        assert [type(each) for each in more] == [dg.RunRequest]
        assert more[0].run_key != first[0].run_key


def test_an_empty_inbox_and_none_start_nothing(inbox: Path, monkeypatch: pytest.MonkeyPatch):
    with dg.DagsterInstance.ephemeral() as instance:
        assert asked(instance)[0][0].skip_message == "the inbox is empty"
        monkeypatch.setenv("MEDALLION_INBOX", str(inbox / "nowhere"))
        assert "there is no inbox" in asked(instance)[0][0].skip_message
        monkeypatch.delenv("MEDALLION_INBOX")
        assert "MEDALLION_INBOX" in asked(instance)[0][0].skip_message


def test_a_run_takes_the_files_without_a_broker_and_tells_of_them(inbox: Path, tmp_path: Path):
    put(inbox, "channel_names.csv", NAMES)
    put(inbox, "channel_names_bad.csv", NAMES.replace(b",", b";"))
    job = definitions_of(only("marketing")).resolve_job_def("everything")
    bronze = key_of("bronze.marketing.channel_names")
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, asset_selection=[bronze])
    assert done.success
    metadata = next(e for e in done.all_events if e.is_step_materialization).step_materialization_data.materialization.metadata  # fmt: skip
    assert (metadata["files_taken"].value, metadata["files_set_aside"].value) == (1, 1)
    assert "separated by semicolons" in metadata["set_aside"].value
    assert Lake(str(tmp_path / "lake")).scan("bronze.marketing.channel_names").collect().height == 1
    assert not [path for path in inbox.iterdir() if path.is_file()]
