"""What can be wrong with a record, a proof, a checkpoint or a key."""


class RecordError(Exception):
    """Something about a record or its proof that its reader must know."""


class ProofInvalid(RecordError):
    """A proof does not lead to the root that was signed, or is no proof at all."""


class KeyMalformed(RecordError):
    """A key's text, or a key's bytes, cannot be a key; the message names the part."""


class KeyFileRejected(RecordError):
    """A file cannot be trusted with a key, or holds none; the message names the file and what to do."""


class NoteMalformed(RecordError):
    """A signed note is not in the format of C2SP signed-note; the message names the line."""


class SignatureMissing(RecordError):
    """A note has no signature by the key that is asked for."""


class SignatureInvalid(RecordError):
    """A note names the key that is asked for, but was not signed by it, or was changed since."""


class CheckpointMalformed(RecordError):
    """A note's text is no checkpoint in the format of C2SP tlog-checkpoint; the message names the line."""


class CheckpointOriginMismatch(RecordError):
    """A checkpoint is well signed, but about another log."""


class HeaderInvalid(RecordError):
    """A header is not one of ours; the message names the field."""


class HeaderVersionUnsupported(HeaderInvalid):
    """A header was written by a newer release."""


class FrameInvalid(RecordError):
    """Bytes are not a header and a ciphertext."""


class ExportMalformed(RecordError):
    """A file is no export of a log; the message names the line."""


class CustomerKeyMismatch(RecordError):
    """A record was sealed under another key than the one that is given."""


class RecordAltered(RecordError):
    """A header or a ciphertext is not what was sealed."""


class WrappedKeyInvalid(RecordError):
    """A customer's key cannot be unwrapped: another master key, another name, or changed bytes."""
