"""Signatures of model bundles: a signed note that states the family and the SHA-256 of the bundle's manifest.

The manifest lists the SHA-256 of every file of the bundle, so the signature covers the whole bundle. The text has
three lines of which the second is not a number, so it is neither a valid checkpoint nor a key rotation.
"""

import re
from collections.abc import Sequence

from grounds_record.errors import NoteMalformed, RecordError, SignatureMissing
from grounds_record.note import Signer, VerifierKey, open_note, parse_note, sign_note

SIGNATURE_FILE = "manifest.sig"  # the file in the folder of the bundle
_KIND = "grounds-bundle/v1"


def sign_bundle(family: str, bundle_id: str, key: Signer) -> str:
    """Return the signature of a bundle as a note."""
    return sign_note(_text(family, bundle_id), key)


def verify_bundle_signature(note: str, family: str, bundle_id: str, keys: Sequence[VerifierKey]) -> VerifierKey:
    """Return the first of the keys that signed a bundle.

    Raises:
        NoteMalformed: The note is malformed, or is the signature of a different bundle.
        SignatureMissing: None of the keys has signed the bundle.
        SignatureInvalid: A signature by one of the keys does not verify.
    """
    text, signatures = parse_note(note)
    if text != _text(family, bundle_id):
        raise NoteMalformed("it is the signature of a different bundle")
    names = {(name, key_id) for name, key_id, _ in signatures}
    for key in keys:
        if (key.name, key.key_id) in names:
            open_note(note, key)
            return key
    raise SignatureMissing(
        f"it is signed by {', '.join(sorted(name for name, _ in names))}, but by no key that is trusted"
    )


def _text(family: str, bundle_id: str) -> str:
    """Return the text that is signed."""
    if not re.fullmatch("[0-9a-f]{64}", bundle_id):
        raise RecordError("the id of a bundle must be the SHA-256 of its manifest, 64 hexadecimal digits")
    return f"{_KIND}\n{family}\n{bundle_id}\n"
