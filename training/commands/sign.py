"""The command `sign`."""

from pathlib import Path

from grounds_record.bundle_signature import SIGNATURE_FILE, sign_bundle
from grounds_record.key_files import ensure_signing_key
from grounds_record.private_files import replace_file
from models.bundle import read_bundle
from training.console import Console


def sign_released_bundle(bundle: Path, key: Path, name: str) -> None:
    """Sign the bundle in a folder, and print the public key.

    Args:
        bundle: Folder of the bundle.
        key: File of the private key, which is created if it is missing.
        name: Name of the key.
    """
    folder = bundle.resolve()
    read_bundle(folder)  # never sign a bundle whose files do not match its manifest
    signer = ensure_signing_key(key, name)
    with replace_file(folder / SIGNATURE_FILE) as temporary:
        temporary.write_text(sign_bundle(folder.parent.name, folder.name, signer), encoding="utf-8")
    console = Console(1)
    console.info(f"wrote the signature: {folder / SIGNATURE_FILE}")
    console.info(f"public key, for bundle_keys: {signer.verifier().text()}")
