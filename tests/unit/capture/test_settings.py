from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import SettingsError
from pipelines.settings import Options, Settings, load_settings


def test_nothing_said_gives_the_defaults():
    settings = load_settings(environment={})
    assert settings.lake == ".lake"
    assert (settings.assets / "__init__.py").is_file()
    with pytest.raises(SettingsError, match=r"no Kafka broker is named(.|\n)*MEDALLION_BOOTSTRAP"):
        _ = settings.brokers


def test_an_argument_wins_over_the_environment():
    environment = {
        "MEDALLION_LAKE": "/there",
        "MEDALLION_BOOTSTRAP": "a:1",
        "MEDALLION_ASSETS": "/x",
    }
    settings = load_settings(lake="/here", environment=environment)
    assert (settings.lake, settings.brokers, settings.assets) == ("/here", "a:1", Path("/x"))


def test_options_are_passed_through_by_the_name_of_their_library():
    settings = load_settings(
        kafka=["sasl.password=a=b", "security.protocol=SASL_SSL"],
        environment={
            "MEDALLION_KAFKA_SASL_USERNAME": "me",
            "MEDALLION_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
            "MEDALLION_STORAGE_AWS_REGION": "eu",
        },
    )
    assert dict(settings.kafka) == {
        "sasl.username": "me",
        "security.protocol": "SASL_SSL",
        "sasl.password": "a=b",
    }
    assert dict(settings.storage) == {"aws_region": "eu"}


def test_an_empty_variable_counts_as_not_set():
    assert load_settings(environment={"MEDALLION_LAKE": "", "MEDALLION_X": ""}).lake == ".lake"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MEDALLION_LAEK", "did you mean MEDALLION_LAKE"),
        ("MEDALLION_BOOTSTRAP_SERVERS", "did you mean MEDALLION_BOOTSTRAP"),
        ("MEDALLION_KAFKA_", "did you mean MEDALLION_KAFKA_"),
        ("MEDALLION_", "known are|did you mean"),
    ],
)
def test_a_misspelt_variable_is_an_error(name, hint):
    with pytest.raises(SettingsError, match=f"{name} is not known(.|\n)*({hint})"):
        load_settings(environment={name: "x"})


def test_variables_of_others_are_left_alone():
    load_settings(environment={"MEDALLION_STACK_DIR": "/tmp/x", "HOME": "/", "MEDALLIONS": "x"})


@pytest.mark.parametrize("line", ["security.protocol", "=x", "hunter2"])
def test_an_option_without_a_name_or_value_is_an_error_that_does_not_repeat_it(line):
    with pytest.raises(SettingsError, match="--kafka takes name=value") as raised:
        load_settings(kafka=[line], environment={})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("name", ["enable.auto.commit", "auto.offset.reset", "bootstrap.servers"])
def test_options_that_exactly_once_rests_on_cannot_be_set(name):
    with pytest.raises(SettingsError, match=f"'{name}' cannot be set"):
        load_settings(kafka=[f"{name}=latest"], environment={})


def test_secrets_are_not_printed():
    settings = Settings(
        lake="s3://user:hunter2@bucket/lake?sig=hunter2",
        kafka=Options({"sasl.password": "hunter2", "ssl.key.pem": "hunter2", "client.id": "me"}),
        storage=Options({"aws_secret_access_key": "hunter2", "azure_storage_sas_token": "hunter2"}),
    )
    for shown in (repr(settings), str(settings), f"{settings.kafka} {settings.storage!r}"):
        assert "hunter2" not in shown
    assert "'client.id': 'me'" in repr(settings)
    assert settings.kafka["sasl.password"] == "hunter2"
