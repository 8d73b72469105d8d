"""With `bundle_keys`, only bundles that a trusted key has signed serve or are activated."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from grounds_record.bundle_signature import sign_bundle, verify_bundle_signature
from grounds_record.errors import NoteMalformed, SignatureInvalid, SignatureMissing
from grounds_record.note import SigningKey
from models.bundle import SIGNATURE
from models.errors import BundleInvalid
from server.config import Settings
from server.registry.bundle_signatures import BundleSignatures
from server.registry.model_registry import ModelRegistry
from tests.conftest import key_settings, run
from tests.e2e.processes import write_config
from tests.server.commands.test_cli import run_server
from tests.server.servers import serve

KEY, OTHER = SigningKey("example.com/release", b"\x01" * 32), SigningKey("example.com/release", b"\x02" * 32)
IDS = ("a" * 64, "b" * 64)


def registry_with(settings: Settings, *keys: SigningKey) -> ModelRegistry:
    """Return a registry that trusts these keys, after it has read the catalog."""
    signatures = BundleSignatures([key.verifier().text() for key in keys])
    registry = ModelRegistry(settings.bundles, signatures=signatures)
    registry.refresh()
    return registry


def test_a_signature_is_valid_for_one_bundle_and_one_key() -> None:
    note = sign_bundle("credit", IDS[0], KEY)

    assert verify_bundle_signature(note, "credit", IDS[0], [OTHER.verifier(), KEY.verifier()]) == KEY.verifier()
    for family, bundle_id in (("churn", IDS[0]), ("credit", IDS[1])):
        with pytest.raises(NoteMalformed, match="different bundle"):
            verify_bundle_signature(note, family, bundle_id, [KEY.verifier()])
    with pytest.raises(SignatureMissing, match="by no key that is trusted"):
        verify_bundle_signature(note, "credit", IDS[0], [OTHER.verifier()])
    with pytest.raises(SignatureInvalid):
        verify_bundle_signature(note.replace(IDS[0], IDS[1]), "credit", IDS[1], [KEY.verifier()])


def test_the_command_sign_signs_a_bundle_that_then_serves_and_is_activated(
    small_settings: Settings, tmp_path: Path
) -> None:
    (folder,) = (path for path in (small_settings.bundles / "credit").iterdir() if path.is_dir())
    printed = run("training", "sign", str(folder), "--key", str(tmp_path / "release.key"))
    public = printed.split("bundle_keys: ")[1].split()[0]
    (tmp_path / "release.pub").write_text(f"{public}\n")
    settings = {
        "bundles": small_settings.bundles,
        "bundle_keys": [str(tmp_path / "release.pub")],
        "database": small_settings.database,
        **key_settings(tmp_path),
    }
    config = str(write_config(tmp_path / "server.toml", settings))

    activated = run_server("activate", folder.name, "--config", config)
    assert activated.returncode == 0, activated.stderr
    registry = ModelRegistry(small_settings.bundles, signatures=BundleSignatures([public]))
    assert registry.refresh().markets("credit") == ["DE", "FR"]

    (folder / SIGNATURE).unlink()
    refused = run_server("activate", folder.name, "--config", config)
    assert refused.returncode == 1
    assert "manifest.sig: cannot be read" in refused.stderr
    assert "grounds-train sign" in refused.stderr


@pytest.mark.parametrize("signature", [None, b"", b"\xff", sign_bundle("credit", "c" * 64, KEY).encode()])
def test_a_bundle_without_a_valid_signature_does_not_serve_until_it_is_signed(
    small_settings: Settings, signature: bytes | None
) -> None:
    (folder,) = (path for path in (small_settings.bundles / "credit").iterdir() if path.is_dir())
    if signature is not None:
        (folder / SIGNATURE).write_bytes(signature)

    registry = registry_with(small_settings, KEY)

    assert registry.current.markets("credit") == []
    assert all("manifest.sig" in problem for problem in registry.problems.values())
    with pytest.raises(BundleInvalid, match=r"manifest\.sig"):
        BundleSignatures([KEY.verifier().text()]).check(folder)
    (folder / SIGNATURE).write_text(sign_bundle("credit", folder.name, KEY))
    assert registry.refresh().markets("credit") == ["DE", "FR"]


def test_a_bundle_signed_by_an_unknown_key_does_not_serve(small_settings: Settings) -> None:
    (folder,) = (path for path in (small_settings.bundles / "credit").iterdir() if path.is_dir())
    (folder / SIGNATURE).write_text(sign_bundle("credit", folder.name, OTHER))

    assert registry_with(small_settings, KEY).current.markets("credit") == []
    assert registry_with(small_settings, KEY, OTHER).current.markets("credit") == ["DE", "FR"]


async def test_a_server_on_loopback_without_keys_serves_unsigned_bundles_and_says_so(small_settings: Settings) -> None:
    with capture_logs() as lines:
        async with serve(small_settings) as serving:
            assert serving.application.models.current.markets("credit") == ["DE", "FR"]

    assert "signatures of bundles are not verified, because bundle_keys is empty" in {line["event"] for line in lines}
