"""What an HTTP door takes from its environment, and what it refuses to start with."""

from pathlib import Path

import pytest

from gateway.settings import SettingsError, read_http, read_sensors

LEAST = {
    "HEADGATE_BROKER_URL": "mqtt://http@127.0.0.1:1883",
    "HEADGATE_BROKER_TOKEN_FILE": "/secrets/http.token",
    "HEADGATE_STORE_ID": "3f1c9a5e-5d0c-4b0e-9a53-2f4d8f3f9c11",
}


def test_the_least_is_enough() -> None:
    settings = read_http(LEAST)
    assert (settings.http_bind, settings.number, settings.name) == ("127.0.0.1:8081", 0, "http")
    assert settings.broker_token_file == Path("/secrets/http.token")
    assert (settings.redis_url, settings.device_header, settings.broker_tls) == (None, None, None)


@pytest.mark.parametrize("missing", ["HEADGATE_BROKER_URL", "HEADGATE_STORE_ID"])
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        read_http({name: value for name, value in LEAST.items() if name != missing})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADGATE_STORE_ID", "x"),
        ("HEADGATE_REGION", "North"),
        ("HEADGATE_DOOR", "100"),
        ("HEADGATE_DOOR", "-1"),
        ("HEADGATE_DOOR_NAME", "a/b"),
        ("HEADGATE_LOG", "xml"),
    ],
)
def test_nonsense_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_http({**LEAST, name: value})


CLUSTER = {
    "HEADGATE_BROKER_URL": "amqps://broker:5671",
    "HEADGATE_STORE_ID": "3f1c9a5e-5d0c-4b0e-9a53-2f4d8f3f9c11",
}


def test_a_door_for_sensors_has_a_name_of_its_kind_and_stands_at_the_cluster() -> None:
    assert read_sensors(CLUSTER).name == "sensors"
    assert read_sensors({**CLUSTER, "HEADGATE_DOOR_NAME": "sensors-3"}).name == "sensors-3"
    with pytest.raises(SettingsError, match="HEADGATE_DOOR_NAME"):
        read_sensors({**CLUSTER, "HEADGATE_DOOR_NAME": "http-3"})
    with pytest.raises(SettingsError, match="RabbitMQ"):
        read_sensors(LEAST)


def test_a_door_has_a_doors_name() -> None:
    assert read_http({**CLUSTER, "HEADGATE_DOOR_NAME": "http-12"}).name == "http-12"
    with pytest.raises(SettingsError, match="http-0"):
        read_http({**CLUSTER, "HEADGATE_DOOR_NAME": "hub-1"})
