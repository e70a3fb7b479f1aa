"""Names that OpenLineage knows things by, without anybody's password in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lineage.openlineage.code import code_of
from lineage.openlineage.facts import Place, place_in_kafka, place_in_lake, public_url
from pipelines.errors import MedallionError, SettingsError
from pipelines.run_facts import failure_of
from pipelines.settings import load_settings


@pytest.mark.parametrize(
    ("root", "namespace", "name"),
    [
        ("/data/lake", "file", "/data/lake/silver/shop/orders"),
        ("file:///data/lake", "file", "/data/lake/silver/shop/orders"),
        ("s3://bucket/lake/", "s3://bucket", "lake/silver/shop/orders"),
        ("s3a://bucket", "s3://bucket", "silver/shop/orders"),
        ("s3://key:secret@bucket/lake", "s3://bucket", "lake/silver/shop/orders"),
        ("gs://bucket/lake", "gs://bucket", "lake/silver/shop/orders"),
        (
            "abfss://box@account.dfs.core.windows.net/lake",
            "abfss://box@account.dfs.core.windows.net",
            "lake/silver/shop/orders",
        ),
    ],
)
def test_a_table_is_named_by_its_store_and_path(root: str, namespace: str, name: str) -> None:
    assert place_in_lake(root, "silver.shop.orders") == Place(namespace, name)


def test_a_topic_is_named_by_the_first_server() -> None:
    place = place_in_kafka("SASL_SSL://one:9093, two:9093", "shop.public.orders")
    assert place == Place("kafka://one:9093", "shop.public.orders")


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://me:token@example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://example.org:8443/a/b.git?x=y", "https://example.org:8443/a/b.git"),
        ("git@example.org:a/b.git", "ssh://example.org/a/b.git"),
        ("/srv/git/b.git", None),
        ("file:///srv/git/b.git", None),
        ("", None),
    ],
)
def test_a_remote_is_told_without_its_user(remote: str, url: str | None) -> None:
    assert public_url(remote) == url


def test_code_is_told_by_repository_path_and_commit(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "a.yaml").write_text("a")
    for command in (
        ["init", "-q", "-b", "main"],
        ["remote", "add", "origin", "https://me:token@example.org/a/b.git"],
        ["add", "."],
        ["commit", "-qm", "first"],
    ):
        subprocess.run([*git, *command], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    code = code_of(tmp_path / "shop" / "a.yaml")
    assert code is not None
    assert (code.url, code.path) == ("https://example.org/a/b.git", "shop/a.yaml")
    assert (code.commit, code.branch) == (head.stdout.strip(), "main")


def test_code_outside_of_a_repository_is_not_told(tmp_path: Path) -> None:
    assert code_of(tmp_path / "a.yaml") is None


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught.value


def test_an_error_of_ours_is_told_and_a_foreign_text_is_not() -> None:
    assert failure_of(raised(SettingsError("no broker"))).message == "SettingsError: no broker"
    secret = ValueError("cannot parse 'jane@example.org'")
    for error in (raised(secret), raised(MedallionError(str(secret)), secret)):
        told = failure_of(error)
        assert "jane" not in told.message
        assert "jane" not in (told.trace or "")
        assert type(error).__name__ in told.message


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, False),
        ({"OPENLINEAGE_NAMESPACE": "x"}, False),
        ({"OPENLINEAGE_URL": "http://localhost:5000"}, True),
        ({"OPENLINEAGE__TRANSPORT__TYPE": "file"}, True),
        ({"OPENLINEAGE_CONFIG": "/no/such/file.yml"}, False),
    ],
)
def test_nobody_is_told_before_somebody_is_named(
    environment: dict[str, str], told: bool, tmp_path: Path
) -> None:
    given = {"HOME": str(tmp_path), **environment}
    assert load_settings(environment=given).openlineage is told


def test_the_outbox_is_a_folder_of_the_user_or_the_one_named(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert load_settings(environment=home).outbox == tmp_path / ".local/state/medallion/openlineage"
    named = {**home, "MEDALLION_OPENLINEAGE_OUTBOX": "/var/spool/events"}
    assert load_settings(environment=named).outbox == Path("/var/spool/events")
