"""`doctor` finds what is wrong around the database, says what to do, and exits by severity."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.config import Settings
from server.maintenance.surroundings import Finding, Severity, check_currency, check_surroundings
from server.stores.database import Database
from tests.server.commands.test_cli import run_server


def certificate(path: Path, days: float) -> Path:
    """Write a self-signed certificate that is valid for a number of days from now; return its path."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=99)).not_valid_after(now + dt.timedelta(days=days))
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("days", "severity", "words"),
    [
        (-1, Severity.ERROR, "has expired; renew it"),
        (5, Severity.WARNING, "expires in 5 days"),
        (90, Severity.OK, "90 days"),
    ],
)
def test_an_old_certificate_is_found(
    small_settings: Settings, tmp_path: Path, days: float, severity: Severity, words: str
) -> None:
    path = certificate(tmp_path / "server.pem", days + 0.01)

    found = check_surroundings(small_settings.model_copy(update={"tls_certificate": path}))

    (finding,) = [each for each in found if each.check == "certificates"]
    assert finding.severity is severity
    assert words in finding.text


def test_a_file_without_a_certificate_and_a_missing_folder_are_found(small_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "server.pem").write_text("no certificate")
    changes = {"tls_certificate": tmp_path / "server.pem", "anchor_folder": tmp_path / "none"}

    found = check_surroundings(small_settings.model_copy(update=changes))

    problems = {each.check: each.text for each in found if each.severity is Severity.ERROR}
    assert problems.keys() == {"certificates", "disk"}
    assert "contains no certificate that can be read; restore it" in problems["certificates"]
    assert "create the folder" in problems["disk"]


@pytest.mark.parametrize("setting", ["high_water_mark", "erasure_list"])
def test_a_mark_or_an_erasure_list_that_cannot_be_written_is_found(
    small_settings: Settings, tmp_path: Path, setting: str
) -> None:
    path = tmp_path / "away" / "file"
    missing = check_surroundings(small_settings.model_copy(update={setting: path}))
    path.mkdir(parents=True)  # not even root can open a folder for writing
    unwritable = check_surroundings(small_settings.model_copy(update={setting: path}))

    def problems(found: list[Finding]) -> list[str]:
        return [each.text for each in found if each.severity is Severity.ERROR]

    assert any(f"{path.parent}: cannot be read" in text for text in problems(missing))
    assert any(f"{path}: cannot be written" in text for text in problems(unwritable))


def findings_of(settings: Settings) -> dict[str, Finding]:
    """Return the findings about time, by check."""
    database = Database(settings.database)
    found = check_currency(database, settings)
    database.close()
    return {each.check: each for each in found if each.severity is not Severity.OK}


def test_old_features_are_a_warning(small_settings: Settings) -> None:
    database = Database(small_settings.database)
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE features SET as_of = '1901-02-03 00:00:00.000000'")
    database.close()

    found = findings_of(small_settings)

    assert found["features"].severity is Severity.WARNING
    assert "load newer features" in found["features"].text


def test_doctor_prints_json_and_exits_by_severity(small_settings: Settings, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    names = ("bundles", "policy", "database", "keys", "master_key", "signing_key")
    config.write_text("".join(f'{name} = "{getattr(small_settings, name)}"\n' for name in names))

    def doctor(*arguments: str) -> tuple[int, dict[str, Any]]:
        done = run_server("doctor", "--json", "--config", str(config), *arguments)
        return done.returncode, json.loads(done.stdout)

    run_server("retain", "--config", str(config))  # creates the keys of the log
    well = doctor()
    config.write_text(config.read_text() + f'anchor_folder = "{tmp_path / "none"}"\n')
    missing = doctor()
    config.write_text("prot = 1\n")
    invalid = doctor()

    assert well[0] in {0, 4}
    assert well[1]["severity"] == ("ok" if well[0] == 0 else "warning")
    assert {"database", "disk", "clock", "anchors", "features"} <= {each["check"] for each in well[1]["findings"]}
    assert (missing[0], missing[1]["severity"]) == (1, "error")
    assert (invalid[0], invalid[1]["findings"][0]["check"]) == (1, "start")
    assert "prot" in invalid[1]["findings"][0]["text"]
