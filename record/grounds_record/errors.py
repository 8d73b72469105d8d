"""Errors about records, proofs, checkpoints and keys."""


class RecordError(Exception):
    """Base class of the errors that this package raises."""


class ProofInvalid(RecordError):
    """A proof does not lead to the signed root, or is malformed."""


class KeyMalformed(RecordError):
    """The text or the bytes of a key are malformed. The message states the invalid part but never contains the key."""


class KeyHistoryInvalid(RecordError):
    """The rotations of a log's signing keys are malformed or contradict each other."""


class KeyFileRejected(RecordError):
    """A key file is missing, invalid or accessible to other users, or cannot be created. The message states the file and what to do."""


class NoteMalformed(RecordError):
    """A text is not a C2SP signed note. The message states the invalid line."""


class SignatureMissing(RecordError):
    """A note has no signature by the requested key."""


class SignatureInvalid(RecordError):
    """A signature by the requested key does not verify: the note or the signature was changed."""


class CheckpointMalformed(RecordError):
    """The text of a note is not a C2SP tlog-checkpoint. The message states the invalid line."""


class CheckpointOriginMismatch(RecordError):
    """The origin of a checkpoint is not the name of the key, so the checkpoint belongs to a different log."""


class HeaderInvalid(RecordError):
    """A header is not in canonical form, or a field is invalid. The message states the field."""


class HeaderVersionUnsupported(HeaderInvalid):
    """A newer release wrote the header, in a version that this release does not support."""


class FrameInvalid(RecordError):
    """Leaf data does not consist of a header and a ciphertext, or the header or the body is too long."""


class ExportMalformed(RecordError):
    """A file is not an export of a record log. The message states the invalid line."""


class CustomerKeyMismatch(RecordError):
    """The header of a record contains the id of a different key than the key that the caller passed."""


class RecordAltered(RecordError):
    """A header or a ciphertext was changed after it was sealed."""


class WrappedKeyInvalid(RecordError):
    """A customer's key cannot be unwrapped: the master key or the key id is wrong, or the bytes were changed."""
