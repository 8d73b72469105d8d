"""Checks the signatures of bundles before they serve."""

from collections.abc import Sequence
from pathlib import Path

from grounds_record.bundle_signature import SIGNATURE_FILE, verify_bundle_signature
from grounds_record.errors import RecordError
from grounds_record.note import parse_verifier_key
from models.atomic_files import read_regular_file
from models.errors import BundleInvalid

_BYTES_MAX = 64 * 1024


class BundleSignatures:
    """The public keys of which one must have signed each bundle."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Create the check. Without keys, it accepts every bundle."""
        self._keys = [parse_verifier_key(key) for key in keys]

    def check(self, folder: Path) -> None:
        """Check the signature in the folder of a bundle. Whether the files match the manifest is not checked here.

        Raises:
            BundleInvalid: The signature is missing, malformed, of a different bundle, or by a key that is not trusted.
        """
        if not self._keys:
            return
        try:
            note = read_regular_file(folder / SIGNATURE_FILE, _BYTES_MAX).decode()
            verify_bundle_signature(note, folder.parent.name, folder.name, self._keys)
        except OSError as error:
            raise BundleInvalid(
                f"{SIGNATURE_FILE}: cannot be read: {error.strerror}; the setting bundle_keys requires a signature; sign the bundle with "
                "`grounds-train sign`"
            ) from error
        except (RecordError, UnicodeDecodeError) as error:
            raise BundleInvalid(
                f"{SIGNATURE_FILE}: is rejected: {error}; sign the bundle with `grounds-train sign`, or add its key to bundle_keys"
            ) from error
