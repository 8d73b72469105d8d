"""Keys that live in a PKCS#11 token serve like key files. SoftHSM is a real token in software."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from server.config import read_settings
from server.errors import ConfigRefused, LogRefused
from server.key_location import Pkcs11Uri, parse_key_location
from server.maintenance.doctor import check_log
from server.maintenance.keys import rotate_master_key, rotate_signing_key
from server.stores.keys.places import open_place
from tests.server.maintenance.test_key_rotation import append
from tests.server.record_logs import NOW, ORIGIN, newest_checkpoint, open_test_log

LIBRARY = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "1234"
pytestmark = [
    pytest.mark.skipif(
        shutil.which("softhsm2-util") is None or not LIBRARY.exists(),
        reason="needs SoftHSM; install the Debian package softhsm2",
    ),
]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pkcs11Uri]:
    """Initialize a token; return a function that returns the URI of a key with a label."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    (folder / "pin").write_text(f"{PIN}\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")  # SoftHSM reads it once in a process
    command = ["softhsm2-util", "--init-token", "--free", "--label", "grounds", "--pin", PIN, "--so-pin", "5678"]
    subprocess.run(command, check=True, capture_output=True)

    def uri(label: str, pin: str = "pin") -> Pkcs11Uri:
        text = f"pkcs11:token=grounds;object={label}?module-path={LIBRARY}&pin-source=file:{folder / pin}"
        found = parse_key_location(text)
        assert isinstance(found, Pkcs11Uri)
        return found

    return uri


def test_a_log_with_both_keys_in_a_token_records_rotates_and_verifies(
    token: Callable[[str], Pkcs11Uri], database_url: str, tmp_path: Path
) -> None:
    name = tmp_path.name.replace("[", "").replace("]", "")
    signing, master = token(f"signing-{name}"), token(f"master-{name}")
    places = {"signing_key": signing, "master_key": master, "mark": tmp_path / "mark", "erasures": tmp_path / "erased"}
    with open_test_log(database_url, tmp_path, **places) as log:
        first, records = log.verifier, [append(log)]
        rotate_signing_key(log, open_place(signing), "yearly", NOW)
        assert rotate_master_key(log).count == 3
        records.append(append(log, "C2"))
    with open_test_log(database_url, tmp_path, **places) as log:
        records.append(append(log, "C3"))
        assert all(log.find_by_id(each) for each in records)
        assert newest_checkpoint(log).size == 4
        assert log.verifier == open_place(signing).read_signer(ORIGIN).verifier() != first
        sound, sentences = check_log(log.database, first, None)
        assert sound, sentences
    assert not open_place(signing).successor().exists()
    assert not list(tmp_path.glob("*.key*"))


def test_a_token_rejects_a_changed_key_and_states_what_is_missing(token: Callable[[str], Pkcs11Uri]) -> None:
    place = open_place(token("alone"))
    with pytest.raises(LogRefused, match=r"token=grounds;object=alone: the token has 0 objects .* keys init"):
        place.read_master()
    place.create_master()
    place.create_master()
    cipher = place.read_master().cipher
    sealed = cipher.encrypt(bytes(12), b"secret", b"id")

    assert cipher.decrypt(bytes(12), sealed, b"id") == b"secret"
    assert open_place(token("alone")).read_master().key_id == place.read_master().key_id
    with pytest.raises(InvalidTag):
        cipher.decrypt(bytes(12), sealed, b"other")


def test_a_malformed_location_and_missing_paths_are_refused_with_the_form() -> None:
    for uri in (
        "pkcs11:token=x",
        "pkcs11:token=x;object=y",
        "pkcs11:token=x;token=x;object=y?module-path=/m&pin-source=/p",
    ):
        with pytest.raises(ConfigRefused, match="must be pkcs11:token=TOKEN;object=NAME"):
            read_settings(signing_key=uri)
    with pytest.raises(ConfigRefused, match="high_water_mark: required, because signing_key is not a file"):
        read_settings(signing_key="pkcs11:token=x;object=y?module-path=/m&pin-source=/p")
