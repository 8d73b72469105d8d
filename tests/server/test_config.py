"""The configuration: the environment overrides the file, which overrides the defaults; values are checked."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from grounds_record.note import SigningKey
from server.config import Settings, parse_listen_address, read_settings
from server.errors import ConfigRefused


def config(folder: Path, text: str) -> Path:
    """Write a configuration file; return its path."""
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_the_environment_stands_above_the_file_and_the_file_above_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(tmp_path, 'port = 1111\nreload_seconds = 7.5\ndatabase = "sqlite:///of-the-file.db"')
    monkeypatch.setenv("GROUNDS_PORT", "2222")

    settings = read_settings(path)

    assert (settings.port, settings.reload_seconds, settings.host) == (2222, 7.5, "127.0.0.1")
    assert settings.database == "sqlite:///of-the-file.db"
    assert read_settings(path, port=3333).port == 3333
    assert read_settings().reload_seconds == 1.0


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    path = config(tmp_path, 'prot = 1\nport = 70000\nhost = "0.0.0.0"\nrequest_bytes_max = "many"')

    with pytest.raises(ConfigRefused) as caught:
        read_settings(path)

    message = str(caught.value)
    for words in (str(path), "prot: ", "port: ", "65535", "host: ", "request_bytes_max: "):
        assert words in message


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "8.8.8.8"])  # noqa: S104 - refused
def test_an_address_that_others_can_reach_is_refused_with_the_reason(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigRefused, match=r"host: ") as caught:
        read_settings(config(tmp_path, f'host = "{host}"'))

    assert "loopback" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('tls_certificate = "c"', "tls_certificate and tls_key: set both or neither"),
        ('tls_key = "k"', "tls_certificate and tls_key: set both or neither"),
        ('tls_client_ca = "ca"', "tls_client_ca: requires tls_certificate and tls_key"),
        ('tls_certificate = "c"\ntls_key = "k"', "authority: required with TLS"),
        ('authority = "a"', "authority: requires tls_client_ca or jwt_keys"),
        ('authority = "a"\ntls_certificate = "c"\ntls_key = "k"', "authority: requires tls_client_ca or jwt_keys"),
        (
            'authority = "a"\ntls_certificate = "c"\ntls_key = "k"\ntls_client_ca = "ca"\njwt_keys = "j"',
            "choose certificates or tokens",
        ),
        (
            'authority = "a"\njwt_keys = "j"\njwt_issuer = "i"',
            "jwt_keys: requires jwt_issuer, jwt_audience and authority",
        ),
        (
            'authority = "a"\njwt_keys = "http://x/keys"\njwt_issuer = "i"\njwt_audience = "g"',
            "jwt_keys: must be a file or an address that begins with https://",
        ),
    ],
)
def test_a_combination_that_would_let_unknown_callers_in_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigRefused) as caught:
        read_settings(config(tmp_path, text))
    assert problem in str(caught.value)


def test_a_server_with_tls_and_an_authority_file_may_listen_on_every_address(tmp_path: Path) -> None:
    text = 'host = "0.0.0.0"\nauthority = "a"\ntls_certificate = "c"\ntls_key = "k"\ntls_client_ca = "ca"'
    key = SigningKey("example.com/release", bytes(32)).verifier().text()
    signed = f'{text}\nbundle_keys = ["{key}"]'
    assert read_settings(config(tmp_path, signed)).host == "0.0.0.0"  # noqa: S104 - allowed with TLS
    with pytest.raises(ConfigRefused, match="bundle_keys: required unless host is a loopback address"):
        read_settings(config(tmp_path, text))
    with pytest.raises(ConfigRefused, match="bundle_keys: must be a public key or a file that contains one"):
        read_settings(config(tmp_path, 'bundle_keys = ["none.pub"]'))


@pytest.mark.parametrize("host", ["example.com", "", "127.0.0"])
def test_a_host_that_is_no_address_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigRefused, match=r"host: .*address"):
        read_settings(config(tmp_path, f'host = "{host}"'))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_a_loopback_address_is_taken(tmp_path: Path, host: str) -> None:
    assert read_settings(config(tmp_path, f'host = "{host}"')).host == host


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("port = -1", "port"),
        ("store_threads = 0", "store_threads"),
        ("reload_seconds = 0", "reload_seconds"),
        ("drain_seconds_max = -1", "drain_seconds_max"),
        ("request_bytes_max = 1", "request_bytes_max"),
        ("requests_in_flight_max = 0", "requests_in_flight_max"),
        ("drain_seconds_max = nan", "drain_seconds_max"),
        ('database = "/var/lib/grounds.db"', r"database: .*sqlite:////var"),
        ('keys = "foo://secret"', r"keys: .*postgresql://"),
    ],
)
def test_a_limit_that_cannot_be_right_is_refused(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(ConfigRefused, match=field):
        read_settings(config(tmp_path, text))


@pytest.mark.parametrize("url", ["sqlite:///a.db", "postgresql://user:word@host/name", "postgresql+psycopg:///name"])
def test_a_url_of_sqlite_or_postgresql_is_taken(tmp_path: Path, url: str) -> None:
    assert read_settings(config(tmp_path, f'database = "{url}"')).database == url


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_file_that_is_not_there_is_an_error_and_never_a_default(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigRefused, match="no such file"):
        read_settings(tmp_path / name)


@pytest.mark.parametrize("content", [b"port 1", b"\xff\xfe", b"port = 1\nport = 2"], ids=["words", "bytes", "twice"])
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigRefused, match=str(path)):
        read_settings(path)


def test_settings_never_change() -> None:
    settings: Any = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_a_misspelt_setting_in_the_environment_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDS_PROT", "1")
    monkeypatch.setenv("GROUNDS_ADDRESS", "127.0.0.1:1")  # a setting of the client, which the server must ignore

    with pytest.raises(ConfigRefused, match=r"unknown settings in the environment: GROUNDS_PROT;"):
        read_settings()


# What Kubernetes sets in a container for a Service `grounds` with one port, and for a Service `grounds-metrics` on IPv6.
SERVICE_VARIABLES = {
    "GROUNDS_SERVICE_HOST": "10.96.0.17",
    "GROUNDS_SERVICE_PORT": "50051",
    "GROUNDS_SERVICE_PORT_GRPC": "50051",
    "GROUNDS_PORT": "tcp://10.96.0.17:50051",
    "GROUNDS_PORT_50051_TCP": "tcp://10.96.0.17:50051",
    "GROUNDS_PORT_50051_TCP_PROTO": "tcp",
    "GROUNDS_PORT_50051_TCP_PORT": "50051",
    "GROUNDS_PORT_50051_TCP_ADDR": "10.96.0.17",
    "GROUNDS_METRICS_SERVICE_HOST": "fd00::17",
    "GROUNDS_METRICS_PORT": "tcp://[fd00::17]:9464",
    "GROUNDS_METRICS_PORT_9464_TCP_ADDR": "fd00::17",
}


def test_variables_that_kubernetes_sets_for_a_service_are_not_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SERVICE_VARIABLES.items():
        monkeypatch.setenv(name, value)

    assert read_settings(config(tmp_path, "port = 1111")).port == 1111
    assert read_settings().port == 50051


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GROUNDS_PORT", "abc"),
        ("GROUNDS_PORT", "tcp://10.96.0.17"),
        ("GROUNDS_PORT", "http://10.96.0.17:50051"),
        ("GROUNDS_SERVICE_HOST", "grounds"),
        ("GROUNDS_SERVICE_PORT", "tcp"),
        ("GROUNDS_PORT_50051", "tcp://10.96.0.17:50051"),
        ("GROUNDS_PORT_50051_TCP", "50051"),
        ("GROUNDS_KEYS_SERVICE", "10.96.0.17"),
    ],
)
def test_a_variable_that_only_resembles_those_of_kubernetes_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigRefused, match=r"port: |unknown settings in the environment"):
        read_settings()


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("9464", "127.0.0.1", 9464), ("10.0.0.7:0", "10.0.0.7", 0), ("[::1]:9464", "::1", 9464)],
)
def test_the_address_of_metrics_is_loopback_unless_another_one_is_stated(address: str, host: str, port: int) -> None:
    assert parse_listen_address(str(read_settings(metrics_address=address).metrics_address)) == (host, port)


@pytest.mark.parametrize("address", ["", ":9464", "metrics:9464", "10.0.0.7", "127.0.0.1:65536", "unix:metrics.sock"])
def test_text_that_is_not_an_address_of_metrics_is_refused(address: str) -> None:
    with pytest.raises(ConfigRefused, match=r"metrics_address: .*must be a port such as 9464"):
        read_settings(metrics_address=address)
